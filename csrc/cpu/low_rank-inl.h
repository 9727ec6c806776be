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

template <class Scalar> static Scalar length(const Scalar* row, int64_t width) {
    constexpr int lanes = Vector<Scalar>::lanes;
    Lanes<Scalar> squares[TILE] = {};
    for (int64_t i = 0; i < width; i += TILE * lanes)
        for (int t = 0; t < TILE; ++t) {
            const Lanes<Scalar> x = load(row + i + t * lanes);
            squares[t] += x * x;
        }
    for (int t = 1; t < TILE; ++t) squares[0] += squares[t];
    return std::sqrt(sum<Scalar>(squares[0]));
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

// row r += sum over d of along[r][d] * direction d
template <class Scalar> static void write_rows(const LowRank<Scalar>& job, const Scalar* along, Scalar* rows) {
    constexpr int lanes = Vector<Scalar>::lanes;
    for (int64_t i = 0; i < job.width; i += TILE * lanes) {
        Lanes<Scalar> sums[TILE_ROWS][TILE];
        for (int r = 0; r < TILE_ROWS; ++r)
            for (int t = 0; t < TILE; ++t) sums[r][t] = load(rows + r * job.width + i + t * lanes);
        for (int64_t d = 0; d < job.directions; ++d) {
            Lanes<Scalar> direction[TILE];
            for (int t = 0; t < TILE; ++t) direction[t] = load(job.write + d * job.width + i + t * lanes);
            for (int r = 0; r < TILE_ROWS; ++r)
                for (int t = 0; t < TILE; ++t) sums[r][t] += along[r * job.directions + d] * direction[t];
        }
        for (int r = 0; r < TILE_ROWS; ++r)
            for (int t = 0; t < TILE; ++t) memcpy(rows + r * job.width + i + t * lanes, &sums[r][t], sizeof sums[r][t]);
    }
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

template <class Scalar> static void change_rows(const LowRank<Scalar>& job, int64_t begin, int64_t end) {
    const bool past =
        job.out != job.rows && uintptr_t(job.out) % LANE_BYTES == 0 && job.cols % Vector<Scalar>::lanes == 0;
    const auto scale = past ? scale_row<Scalar, true> : scale_row<Scalar, false>;
    std::vector<Scalar> rows(TILE_ROWS * job.width), along(TILE_ROWS * job.directions); // rows that are not there: 0
    for (int64_t first = begin; first < end; first += TILE_ROWS) {
        const int64_t count = std::min<int64_t>(TILE_ROWS, end - first);
        for (int64_t r = 0; r < count; ++r) {
            memcpy(&rows[r * job.width], job.rows + (first + r) * job.cols, job.cols * sizeof(Scalar));
            std::fill(&rows[r * job.width + job.cols], &rows[r * job.width] + job.width, Scalar(0));
            job.lengths[2 * (first + r)] = length(&rows[r * job.width], job.width);
        }
        const auto* ahead = reinterpret_cast<const char*>(job.rows + (first + count) * job.cols);
        read_rows(job, rows.data(), along.data(),
                  first + count < end ? ahead : reinterpret_cast<const char*>(job.read));
        write_rows(job, along.data(), rows.data());
        for (int64_t r = 0; r < count; ++r) {
            const int64_t at = (first + r) * job.cols;
            const Scalar changed = length(&rows[r * job.width], job.width);
            job.lengths[2 * (first + r) + 1] = changed;
            if (changed > job.least)
                scale(&rows[r * job.width], 1 / changed, job.cols, job.out + at);
            else if (job.out != job.rows)
                memcpy(job.out + at, job.rows + at, job.cols * sizeof(Scalar));
        }
    }
}
