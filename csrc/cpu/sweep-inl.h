// The sweep of one tile of rows: the rows of a tile are the lanes of a few vectors, a column of the tile is as many.
// Two vectors rather than one: each factor entry that is read serves twice as many rows, and while one vector waits
// for the division of the previous column the other computes.
// Included once per instruction set, inside a namespace of its own and with LANE_BYTES, the width of a vector, defined
// (see sweep.cpp); no include guard on purpose.

template <class Scalar> struct Tile {
    static constexpr int vectors = 2;
    static constexpr int lanes = LANE_BYTES / sizeof(Scalar);
    static constexpr int rows = vectors * lanes;
    typedef Scalar Lanes __attribute__((vector_size(LANE_BYTES)));
    using Flag = std::conditional_t<sizeof(Scalar) == 4, int32_t, int64_t>;
    typedef Flag Flags __attribute__((vector_size(LANE_BYTES)));

    Lanes weight[MAX_COLS][vectors];
    Flags pruned[MAX_COLS][vectors]; // all bits set where true, as vector comparisons give it
    Lanes error[MAX_COLS][vectors];
    Lanes loss[vectors];
};

template <class Scalar>
static void load(Tile<Scalar>& tile, const Scalar* weight, const bool* prune, int64_t rows, int64_t cols) {
    using T = Tile<Scalar>;
    for (int64_t r = 0; r < T::rows; ++r) {
        const int64_t v = r / T::lanes, lane = r % T::lanes;
        for (int64_t j = 0; j < cols; ++j) tile.weight[j][v][lane] = r < rows ? weight[r * cols + j] : Scalar(0);
        if (!prune) continue;
        for (int64_t j = 0; j < cols; ++j)
            tile.pruned[j][v][lane] = r < rows ? -static_cast<int>(prune[r * cols + j]) : 0;
    }
    for (auto& loss : tile.loss) loss = typename T::Lanes{};
}

template <class Scalar>
static void store(const Tile<Scalar>& tile, Scalar* weight, Scalar* loss, int64_t rows, int64_t cols) {
    using T = Tile<Scalar>;
    for (int64_t r = 0; r < rows; ++r) {
        const int64_t v = r / T::lanes, lane = r % T::lanes;
        for (int64_t j = 0; j < cols; ++j) weight[r * cols + j] = tile.weight[j][v][lane];
        loss[r] = tile.loss[v][lane];
    }
}

// Choose keep:group for the columns begin .. begin + group, by counting how many of the group go before each.
template <class Scalar>
static void choose_group(Tile<Scalar>& tile, const Scalar* factor, int64_t cols, int64_t begin, int keep, int group) {
    for (int v = 0; v < Tile<Scalar>::vectors; ++v) {
        typename Tile<Scalar>::Lanes score[MAX_COLS];
        for (int a = 0; a < group; ++a) {
            const int64_t j = begin + a;
            score[a] = saliency(tile.weight[j][v], factor[j * cols + j]);
        }
        for (int a = 0; a < group; ++a) {
            typename Tile<Scalar>::Flags before{};
            for (int b = 0; b < group; ++b)
                if (b != a) before -= precedes(score[b], b, score[a], a); // true is -1
            tile.pruned[begin + a][v] = before < group - keep;
        }
    }
}

// Columns begin .. end one after the other, each absorbed at once by the others of this strip.
template <class Scalar> static void sweep_strip(Tile<Scalar>& tile, const Scalar* factor, int64_t cols, int64_t begin,
                                                int64_t end, int keep, int group) {
    using Lanes = typename Tile<Scalar>::Lanes;
    for (int64_t j = begin; j < end; ++j) {
        if (group && j % group == 0) choose_group(tile, factor, cols, j, keep, group);
        const Scalar* row = factor + j * cols;
        for (int v = 0; v < Tile<Scalar>::vectors; ++v) {
            const Lanes full = pruning_error(tile.weight[j][v], row[j]);
            const Lanes error = tile.pruned[j][v] ? full : Lanes{};
            tile.error[j][v] = error;
            tile.loss[v] += error * error;
            tile.weight[j][v] = tile.pruned[j][v] ? Lanes{} : tile.weight[j][v];
            for (int64_t k = j + 1; k < end; ++k) tile.weight[k][v] = compensated(tile.weight[k][v], error, row[k]);
        }
    }
}

// The columns after the strip absorb all of its errors in one pass: one load and store for many updates, and the
// errors of a strip whose width the compiler knows stay in registers.
template <int WIDTH, class Scalar>
static void absorb_strip(Tile<Scalar>& tile, const Scalar* factor, int64_t cols, int64_t begin, int64_t end) {
    using Lanes = typename Tile<Scalar>::Lanes;
    const int64_t width = WIDTH ? WIDTH : end - begin;
    for (int v = 0; v < Tile<Scalar>::vectors; ++v) {
        for (int64_t k = end; k < cols; ++k) {
            Lanes weight = tile.weight[k][v];
            for (int64_t j = 0; j < width; ++j)
                weight = compensated(weight, tile.error[begin + j][v], factor[(begin + j) * cols + k]);
            tile.weight[k][v] = weight;
        }
    }
}

template <class Scalar> static void sweep_tile(Scalar* weight, const Scalar* factor, const bool* prune, Scalar* loss,
                                               int64_t rows, int64_t cols, int keep, int group) {
    Tile<Scalar> tile;
    load(tile, weight, prune, rows, cols);
    const int strip = group == 0 ? 8 : group >= 8 ? group : 8 / group * group; // whole groups only
    for (int64_t begin = 0; begin < cols; begin += strip) {
        const int64_t end = begin + strip < cols ? begin + strip : cols;
        sweep_strip(tile, factor, cols, begin, end, keep, group);
        if (end - begin == 8)
            absorb_strip<8>(tile, factor, cols, begin, end);
        else
            absorb_strip<0>(tile, factor, cols, begin, end);
    }
    store(tile, weight, loss, rows, cols);
}
