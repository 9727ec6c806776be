// The sweep of one tile of rows: the rows of a tile are the lanes of a vector, a column of the tile is one vector.
// Included once per instruction set, inside a namespace of its own and with LANE_BYTES, the width of a vector, defined
// (see sweep.cpp); no include guard on purpose.

template <class Scalar> struct Tile {
    static constexpr int rows = LANE_BYTES / sizeof(Scalar);
    typedef Scalar Lanes __attribute__((vector_size(LANE_BYTES)));
    using Flag = std::conditional_t<sizeof(Scalar) == 4, int32_t, int64_t>;
    typedef Flag Flags __attribute__((vector_size(LANE_BYTES)));

    Lanes weight[MAX_COLS];
    Flags pruned[MAX_COLS]; // all bits set where true, as vector comparisons give it
    Lanes error[MAX_COLS];
    Lanes loss;
};

template <class Scalar>
static void load(Tile<Scalar>& tile, const Scalar* weight, const bool* prune, int rows, int cols) {
    for (int j = 0; j < cols; ++j) {
        for (int r = 0; r < Tile<Scalar>::rows; ++r) {
            tile.weight[j][r] = r < rows ? weight[r * cols + j] : Scalar(0);
            if (prune) tile.pruned[j][r] = r < rows && prune[r * cols + j] ? -1 : 0;
        }
    }
    tile.loss = typename Tile<Scalar>::Lanes{};
}

template <class Scalar> static void store(const Tile<Scalar>& tile, Scalar* weight, Scalar* loss, int rows, int cols) {
    for (int r = 0; r < rows; ++r) {
        for (int j = 0; j < cols; ++j) weight[r * cols + j] = tile.weight[j][r];
        loss[r] = tile.loss[r];
    }
}

// Choose keep:group for the columns begin .. begin + group, by counting how many of the group go before each.
template <class Scalar>
static void choose_group(Tile<Scalar>& tile, const Scalar* factor, int cols, int begin, int keep, int group) {
    typename Tile<Scalar>::Lanes score[MAX_COLS];
    for (int a = 0; a < group; ++a) {
        const int j = begin + a;
        score[a] = saliency(tile.weight[j], factor[j * cols + j]);
    }
    for (int a = 0; a < group; ++a) {
        typename Tile<Scalar>::Flags before{};
        for (int b = 0; b < group; ++b)
            if (b != a) before -= precedes(score[b], b, score[a], a); // true is -1
        tile.pruned[begin + a] = before < group - keep;
    }
}

// Columns begin .. end one after the other, each absorbed at once by the others of this strip.
template <class Scalar>
static void sweep_strip(Tile<Scalar>& tile, const Scalar* factor, int cols, int begin, int end, int keep, int group) {
    using Lanes = typename Tile<Scalar>::Lanes;
    for (int j = begin; j < end; ++j) {
        if (group && j % group == 0) choose_group(tile, factor, cols, j, keep, group);
        const Scalar* row = factor + j * cols;
        const Lanes full = pruning_error(tile.weight[j], row[j]);
        const Lanes error = tile.pruned[j] ? full : Lanes{};
        tile.error[j] = error;
        tile.loss += error * error;
        tile.weight[j] = tile.pruned[j] ? Lanes{} : tile.weight[j];
        for (int k = j + 1; k < end; ++k) tile.weight[k] = compensated(tile.weight[k], error, row[k]);
    }
}

// The columns after the strip absorb all of its errors in one pass: one load and store for many updates.
template <class Scalar>
static void absorb_strip(Tile<Scalar>& tile, const Scalar* factor, int cols, int begin, int end) {
    for (int k = end; k < cols; ++k) {
        auto weight = tile.weight[k];
        for (int j = begin; j < end; ++j) weight = compensated(weight, tile.error[j], factor[j * cols + k]);
        tile.weight[k] = weight;
    }
}

template <class Scalar> static void sweep_tile(Scalar* weight, const Scalar* factor, const bool* prune, Scalar* loss,
                                               int rows, int cols, int keep, int group) {
    Tile<Scalar> tile;
    load(tile, weight, prune, rows, cols);
    const int strip = group == 0 ? 8 : group >= 8 ? group : 8 / group * group; // whole groups only
    for (int begin = 0; begin < cols; begin += strip) {
        const int end = begin + strip < cols ? begin + strip : cols;
        sweep_strip(tile, factor, cols, begin, end, keep, group);
        absorb_strip(tile, factor, cols, begin, end);
    }
    store(tile, weight, loss, rows, cols);
}
