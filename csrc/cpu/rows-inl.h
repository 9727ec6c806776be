// Products of rows with a few directions, a few rows at a time: what stays in registers, and whole tiles of what is
// given. Included once per instruction set, after vector-inl.h; no include guard on purpose.

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
static void read_rows(const Rows<Scalar>& job, const Scalar* rows, Scalar* along, const char* ahead) {
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

// Some rows as a whole tile of whole vectors: where they lie, or else a copy with zeros for what is not there.
template <class Scalar>
static const Scalar* whole_rows(const Rows<Scalar>& job, int64_t first, int64_t count, Scalar* copy) {
    const Scalar* rows = job.rows + first * job.cols;
    if (job.cols == job.width && count == TILE_ROWS) return rows;
    std::fill(copy, copy + TILE_ROWS * job.width, Scalar(0));
    for (int64_t r = 0; r < count; ++r) memcpy(copy + r * job.width, rows + r * job.cols, job.cols * sizeof(Scalar));
    return copy;
}
