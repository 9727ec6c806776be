// Rows changed along few directions, a few rows at a time, which stay in the cache between the two products.
// Included once per instruction set, after vector-inl.h (see low_rank.cpp); no include guard on purpose.

constexpr int TILE_ROWS = LANE_BYTES == 64 ? 6 : 4; // times TILE: sums that stay in registers
constexpr int TILE = LANE_BYTES == 64 ? 4 : 2;

template <class Scalar> [[gnu::always_inline]] inline Lanes<Scalar> load(const Scalar* from) {
    Lanes<Scalar> lanes;
    memcpy(&lanes, from, sizeof lanes);
    return lanes;
}

// The upper half of the first 2 * HALF lanes is added to the lower.
template <class Scalar, int HALF, int... K>
[[gnu::always_inline]] inline Scalar sum_halves(Lanes<Scalar> lanes, std::integer_sequence<int, K...> all) {
    if constexpr (HALF == 0)
        return lanes[0];
    else
        return sum_halves<Scalar, HALF / 2>(lanes + shuffled<Scalar, ((K + HALF) % int(sizeof...(K)))...>(lanes, lanes),
                                            all);
}

template <class Scalar> [[gnu::always_inline]] inline Scalar sum(Lanes<Scalar> lanes) {
    constexpr int count = Vector<Scalar>::lanes;
    return sum_halves<Scalar, count / 2>(lanes, std::make_integer_sequence<int, count>());
}

// along[r][d] = <row r, direction d>; meanwhile `ahead`, which is read next, comes into the cache
template <class Scalar>
static void read_rows(const LowRank<Scalar>& job, const Scalar* rows, Scalar* along, const char* ahead) {
    for (int64_t d = 0; d < job.directions; d += TILE) {
        Lanes<Scalar> sums[TILE_ROWS][TILE] = {};
        for (int64_t i = 0; i < job.width; i += Vector<Scalar>::lanes) {
            for (int line = 0; line < 2; ++line, ahead += 64) __builtin_prefetch(ahead);
            Lanes<Scalar> directions[TILE];
            for (int t = 0; t < TILE; ++t) directions[t] = load(job.read + (d + t) * job.width + i);
            for (int r = 0; r < TILE_ROWS; ++r) {
                const Lanes<Scalar> x = load(rows + r * job.width + i);
                for (int t = 0; t < TILE; ++t) sums[r][t] += x * directions[t];
            }
        }
        for (int r = 0; r < TILE_ROWS; ++r)
            for (int t = 0; t < TILE; ++t) along[r * job.directions + d + t] = sum<Scalar>(sums[r][t]);
    }
}

// to[r] = row r + sum over d of along[r][d] * direction d; squares[0][r] and [1][r]: sums of squares before and after
template <class Scalar> static void write_rows(const LowRank<Scalar>& job, const Scalar* rows, const Scalar* along,
                                               Scalar* to, Scalar (*squares)[TILE_ROWS]) {
    constexpr int lanes = Vector<Scalar>::lanes;
    Lanes<Scalar> before[TILE_ROWS] = {}, after[TILE_ROWS] = {};
    for (int64_t i = 0; i < job.width; i += TILE * lanes) {
        Lanes<Scalar> sums[TILE_ROWS][TILE];
        for (int r = 0; r < TILE_ROWS; ++r)
            for (int t = 0; t < TILE; ++t) {
                sums[r][t] = load(rows + r * job.width + i + t * lanes);
                before[r] += sums[r][t] * sums[r][t];
            }
        for (int64_t d = 0; d < job.directions; ++d) {
            Lanes<Scalar> direction[TILE];
            for (int t = 0; t < TILE; ++t) direction[t] = load(job.write + d * job.width + i + t * lanes);
            for (int r = 0; r < TILE_ROWS; ++r)
                for (int t = 0; t < TILE; ++t) sums[r][t] += along[r * job.directions + d] * direction[t];
        }
        for (int r = 0; r < TILE_ROWS; ++r)
            for (int t = 0; t < TILE; ++t) {
                after[r] += sums[r][t] * sums[r][t];
                memcpy(to + r * job.width + i + t * lanes, &sums[r][t], sizeof sums[r][t]);
            }
    }
    for (int r = 0; r < TILE_ROWS; ++r) squares[0][r] = sum<Scalar>(before[r]), squares[1][r] = sum<Scalar>(after[r]);
}

// PAST: past the cache, for vectors that are aligned; else what they are written over would be read first.
template <class Scalar, bool PAST> static void scale_row(const Scalar* row, Scalar factor, int64_t cols, Scalar* out) {
    constexpr int lanes = Vector<Scalar>::lanes;
    int64_t i = 0;
    for (; i + lanes <= cols; i += lanes) {
        const Lanes<Scalar> scaled = load(row + i) * factor;
        if constexpr (PAST)
            STORE_PAST(out + i, scaled);
        else
            memcpy(out + i, &scaled, sizeof scaled);
    }
    for (; i < cols; ++i) out[i] = row[i] * factor;
}

// Some rows as a whole tile of whole vectors: where they lie, or else a copy with zeros for what is not there.
template <class Scalar>
static const Scalar* whole_rows(const LowRank<Scalar>& job, int64_t first, int64_t count, Scalar* copy) {
    const Scalar* rows = job.rows + first * job.cols;
    if (job.cols == job.width && count == TILE_ROWS) return rows;
    std::fill(copy, copy + TILE_ROWS * job.width, Scalar(0));
    for (int64_t r = 0; r < count; ++r) memcpy(copy + r * job.width, rows + r * job.cols, job.cols * sizeof(Scalar));
    return copy;
}

template <class Scalar> static void change_rows(const LowRank<Scalar>& job, int64_t begin, int64_t end) {
    const bool past =
        job.out != job.rows && uintptr_t(job.out) % LANE_BYTES == 0 && job.cols % Vector<Scalar>::lanes == 0;
    const auto scale = past ? scale_row<Scalar, true> : scale_row<Scalar, false>;
    std::vector<Scalar> copy(TILE_ROWS * job.width), changed(copy), along(TILE_ROWS * job.directions);
    for (int64_t first = begin; first < end; first += TILE_ROWS) {
        const int64_t count = std::min<int64_t>(TILE_ROWS, end - first);
        const Scalar* rows = whole_rows(job, first, count, copy.data());
        const Scalar* ahead = first + count < end ? job.rows + (first + count) * job.cols : job.read;
        Scalar squares[2][TILE_ROWS];
        read_rows(job, rows, along.data(), reinterpret_cast<const char*>(ahead));
        write_rows(job, rows, along.data(), changed.data(), squares);
        for (int64_t r = 0; r < count; ++r) {
            const int64_t row = first + r, at = row * job.cols;
            const Scalar length = std::sqrt(squares[1][r]);
            job.lengths[row] = std::sqrt(squares[0][r]);
            job.lengths[job.count + row] = length;
            if (length > job.least)
                scale(&changed[r * job.width], 1 / length, job.cols, job.out + at);
            else if (job.out != job.rows)
                memcpy(job.out + at, job.rows + at, job.cols * sizeof(Scalar));
        }
    }
}
