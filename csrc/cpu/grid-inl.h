// One segment of weights and its grid, a vector of neighbouring weights at a time.
// Included once per instruction set, after vector-inl.h (see grid.cpp); no include guard on purpose.

// Some neighbours, at most a vector; lanes that are not there are 0, which every grid has exactly.
template <class Scalar> static Lanes<Scalar> load_part(const Scalar* from, int64_t count) {
    Lanes<Scalar> lanes{};
    memcpy(&lanes, from, count * sizeof(Scalar));
    return lanes;
}

template <class Scalar, class Visit> static void for_vectors(const Scalar* weight, int64_t length, const Visit& visit) {
    constexpr int64_t lanes = Vector<Scalar>::lanes, apart = 4; // sums that do not wait for each other
    int64_t i = 0;
    for (; i + apart * lanes <= length; i += apart * lanes)
        for (int a = 0; a < apart; ++a) visit(load_part(weight + i + a * lanes, lanes), a);
    for (; i + lanes <= length; i += lanes) visit(load_part(weight + i, lanes), 0);
    if (i < length) visit(load_part(weight + i, length - i), 0);
}

template <class Scalar>
static Scalar error_on(const Scalar* weight, int64_t length, const Grid<Scalar>& grid, Scalar top) {
    const Lanes<Scalar> nothing{}, scale = nothing + grid.scale;
    const Lanes<Scalar> least = nothing - grid.zero, most = nothing + (top - grid.zero);
    Lanes<Scalar> sums[4] = {};
    for_vectors(weight, length,
                [&](const Lanes<Scalar>& part, int a) { sums[a] += squared_error<Scalar>(part, scale, least, most); });
    const Lanes<Scalar> sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    Scalar total = 0;
    for (int lane = 0; lane < Vector<Scalar>::lanes; ++lane) total += sum[lane];
    return total;
}

// The first grid of least error, which may be infinite; one that is NaN is never kept.
template <class Scalar>
static Grid<Scalar> search_segment(const Scalar* weight, int64_t length, int bits, bool symmetric, int candidates) {
    Lanes<Scalar> lows{}, highs{};
    for_vectors(weight, length, [&](const Lanes<Scalar>& part, int) {
        lows = part < lows ? part : lows;
        highs = part > highs ? part : highs;
    });
    Scalar low = 0, high = 0, least = std::numeric_limits<Scalar>::infinity();
    for (int lane = 0; lane < Vector<Scalar>::lanes; ++lane) {
        low = std::min<Scalar>(low, lows[lane]);
        high = std::max<Scalar>(high, highs[lane]);
    }
    Grid<Scalar> best{1, 0};
    for (int c = 0; c < candidates; ++c) {
        const Grid<Scalar> grid = candidate_grid(low, high, bits, symmetric, c, candidates);
        const Scalar error = error_on(weight, length, grid, static_cast<Scalar>((1 << bits) - 1));
        if (!(c == 0 ? error <= least : error < least)) continue;
        least = error;
        best = grid;
    }
    return best;
}

// The compiler makes vectors of these two by itself.
template <class Scalar>
static void quantize_segment(const Scalar* weight, uint8_t* codes, int64_t length, Grid<Scalar> grid, Scalar top) {
    const Scalar least = -grid.zero, most = top - grid.zero;
    for (int64_t i = 0; i < length; ++i) {
        const Scalar level = nearest_level<Scalar>(weight[i], grid.scale, least, most);
        codes[i] = static_cast<uint8_t>(static_cast<int32_t>(level + grid.zero));
    }
}

template <class Scalar>
static void dequantize_segment(const uint8_t* codes, Scalar* weight, int64_t length, Grid<Scalar> grid) {
    for (int64_t i = 0; i < length; ++i)
        weight[i] = value_of<Scalar>(static_cast<Scalar>(codes[i]) - grid.zero, grid.scale);
}
