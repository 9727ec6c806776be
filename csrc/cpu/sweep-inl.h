// The sweep of one tile of rows: the rows of a tile are the lanes of a few vectors, a column of the tile is as many.
// Two vectors rather than one: each factor entry that is read serves twice as many rows, and while one vector waits
// for the division of the previous column the other computes.
// Included once per instruction set, after vector-inl.h (see sweep.cpp); no include guard on purpose.

static constexpr int VECTORS = 2;

// A matrix of bytes as load_columns makes it: a lane holds those of several neighbouring columns.
template <class Scalar> struct Bytes {
    Lanes<Scalar> lanes[MAX_COLS / sizeof(Scalar)][VECTORS];

    Words<Scalar> get(int64_t j, int v) const { return (Words<Scalar>)lanes[j / sizeof(Scalar)][v] >> shift(j) & 255; }
    // The columns in order, from 0 on.
    void append(int64_t j, int v, Words<Scalar> byte) {
        auto& to = lanes[j / sizeof(Scalar)][v];
        to = (Lanes<Scalar>)(shift(j) ? (Words<Scalar>)to | byte << shift(j) : byte);
    }
    static int shift(int64_t j) { return j % sizeof(Scalar) * 8; }
};

template <class Scalar, Kept KEPT> struct Tile {
    static constexpr int rows = VECTORS * Vector<Scalar>::lanes;
    static constexpr int grids = KEPT == Kept::on_own_grid ? MAX_COLS : 1; // of a row

    Lanes<Scalar> weight[MAX_COLS][VECTORS];
    Words<Scalar> pruned[MAX_COLS][VECTORS]; // all bits set where true, as vector comparisons give it
    Lanes<Scalar> error[MAX_COLS][VECTORS];
    Lanes<Scalar> loss[VECTORS];
    Lanes<Scalar> scale[grids][VECTORS];
    Bytes<Scalar> zero, codes;
    Scalar top; // the highest code
};

template <class Scalar, Kept KEPT> static void load_prune(Tile<Scalar, KEPT>& tile, const Block<Scalar>& block) {
    Bytes<Scalar> prune{};
    if (block.prune) load_columns<Scalar>(prune.lanes, block.prune, block.rows, block.cols);
    for (int64_t j = 0; j < block.cols; ++j)
        for (int v = 0; v < VECTORS; ++v) tile.pruned[j][v] = prune.get(j, v) != 0;
}

template <class Scalar, Kept KEPT> static void load(Tile<Scalar, KEPT>& tile, const Block<Scalar>& block) {
    load_columns<Scalar>(tile.weight, block.weight, block.rows, block.cols * sizeof(Scalar));
    if (block.group == 0) load_prune(tile, block);
    for (auto& loss : tile.loss) loss = Lanes<Scalar>{};
    if constexpr (KEPT != Kept::as_is) {
        load_columns<Scalar>(tile.scale, block.scale, block.rows, block.grids * sizeof(Scalar));
        load_columns<Scalar>(tile.zero.lanes, block.zero, block.rows, block.grids);
        tile.top = block.top;
    }
}

template <class Scalar, Kept KEPT> static void store(const Tile<Scalar, KEPT>& tile, const Block<Scalar>& block) {
    store_columns<Scalar>(tile.weight, block.weight, block.rows, block.cols * sizeof(Scalar));
    if constexpr (KEPT != Kept::as_is) store_columns<Scalar>(tile.codes.lanes, block.codes, block.rows, block.cols);
    memcpy(block.loss, tile.loss, block.rows * sizeof(Scalar));
}

// Choose keep:group for the columns begin .. begin + group, by counting how many of the group go before each.
template <class Scalar, Kept KEPT>
static void choose_group(Tile<Scalar, KEPT>& tile, const Block<Scalar>& block, int64_t begin) {
    const int group = block.group;
    for (int v = 0; v < VECTORS; ++v) {
        Lanes<Scalar> score[MAX_COLS];
        for (int a = 0; a < group; ++a) {
            const int64_t j = begin + a;
            score[a] = saliency(tile.weight[j][v], block.factor[j * block.cols + j]);
        }
        for (int a = 0; a < group; ++a) {
            Words<Scalar> before{};
            for (int b = 0; b < group; ++b)
                if (b != a) before -= precedes(score[b], b, score[a], a); // true is -1
            tile.pruned[begin + a][v] = before < group - block.keep;
        }
    }
}

// Small integers as numbers and back: the bits of a rounder plus an integer are the rounder's bits plus the integer.
template <class Scalar> static Lanes<Scalar> to_numbers(Words<Scalar> integers) {
    const Lanes<Scalar> base = Lanes<Scalar>{} + rounder(Scalar());
    return (Lanes<Scalar>)(integers + (Words<Scalar>)base) - base;
}
template <class Scalar> static Words<Scalar> to_bytes(Lanes<Scalar> numbers) {
    return (Words<Scalar>)(numbers + rounder(Scalar())) & 255; // the rounder itself ends in zeros
}

// What column j becomes; returns the error that leaves, in the units that the later columns absorb.
template <class Scalar, Kept KEPT>
static Lanes<Scalar> settle(Tile<Scalar, KEPT>& tile, int64_t j, int v, Scalar diagonal) {
    const Lanes<Scalar> weight = tile.weight[j][v], nothing{};
    const Words<Scalar> pruned = tile.pruned[j][v];
    if constexpr (KEPT == Kept::as_is) {
        const Lanes<Scalar> full = pruning_error(weight, diagonal);
        tile.weight[j][v] = pruned ? nothing : weight;
        return pruned ? full : nothing;
    } else {
        const int64_t g = KEPT == Kept::on_own_grid ? j : 0;
        const Lanes<Scalar> scale = tile.scale[g][v], zero = to_numbers<Scalar>(tile.zero.get(g, v));
        const Lanes<Scalar> nearest = nearest_level<Scalar>(weight, scale, -zero, tile.top - zero);
        const Lanes<Scalar> level = pruned ? nothing : nearest;
        const Lanes<Scalar> settled = value_of<Scalar>(level, scale);
        tile.weight[j][v] = settled;
        tile.codes.append(j, v, to_bytes<Scalar>(level + zero));
        return settling_error(weight, settled, diagonal);
    }
}

// Columns begin .. end one after the other, each absorbed at once by the others of this strip.
template <class Scalar, Kept KEPT>
static void sweep_strip(Tile<Scalar, KEPT>& tile, const Block<Scalar>& block, int64_t begin, int64_t end) {
    for (int64_t j = begin; j < end; ++j) {
        if (block.group && j % block.group == 0) choose_group(tile, block, j);
        const Scalar* row = block.factor + j * block.cols;
        for (int v = 0; v < VECTORS; ++v) {
            const Lanes<Scalar> error = settle(tile, j, v, row[j]);
            tile.error[j][v] = error;
            tile.loss[v] += error * error;
            for (int64_t k = j + 1; k < end; ++k) tile.weight[k][v] = compensated(tile.weight[k][v], error, row[k]);
        }
    }
}

// The columns after the strip absorb all of its errors in one pass: one load and store for many updates, and the
// errors of a strip whose width the compiler knows stay in registers.
template <int WIDTH, class Scalar, Kept KEPT>
static void absorb_strip(Tile<Scalar, KEPT>& tile, const Block<Scalar>& block, int64_t begin, int64_t end) {
    const int64_t width = WIDTH ? WIDTH : end - begin;
    for (int v = 0; v < VECTORS; ++v) {
        for (int64_t k = end; k < block.cols; ++k) {
            Lanes<Scalar> weight = tile.weight[k][v];
            for (int64_t j = 0; j < width; ++j)
                weight = compensated(weight, tile.error[begin + j][v], block.factor[(begin + j) * block.cols + k]);
            tile.weight[k][v] = weight;
        }
    }
}

template <class Scalar, Kept KEPT> static void sweep_tile(const Block<Scalar>& block) {
    Tile<Scalar, KEPT> tile;
    load(tile, block);
    const int group = block.group;
    const int strip = group == 0 ? 8 : group >= 8 ? group : 8 / group * group; // whole groups only
    for (int64_t begin = 0; begin < block.cols; begin += strip) {
        const int64_t end = begin + strip < block.cols ? begin + strip : block.cols;
        sweep_strip(tile, block, begin, end);
        if (end - begin == 8)
            absorb_strip<8>(tile, block, begin, end);
        else
            absorb_strip<0>(tile, block, begin, end);
    }
    store(tile, block);
}
