// factor_block on CUDA: one thread block a matrix, all of it in shared memory, in tiles of 32 x 32. With rows and
// columns reversed R is the usual lower factor L, and R^-1 is X = L^-1. What turns A into L, column by column, turns
// the identity into X: the place of a tile of A holds X^T once A is done with it. Free of torch.
//
// One warp factors a tile on the diagonal in registers, a column in some 240 cycles: 180 of latency, of two shuffles, a
// root and a quotient one after the other, and 15 products with their shuffles on average. That is 31,000 cycles for
// 128 columns. Meanwhile the other warps bring the tiles of the step before up to date, which is most of the rest:
// three barriers a tile and some 7,000 cycles of products are left for which the first warp waits. With the way in and
// out, 20 to 25 us at 1.75 GHz for floats. All of this is counted from the instructions, and nothing was measured.
#pragma once
#include <cmath>
#include <limits>

#include "device.cuh"

namespace gpu {
constexpr int TILE = 32; // rows and columns of a tile: a lane a column
constexpr int TILES = 4; // along a side of the largest matrix
template <class Scalar> constexpr Scalar LARGEST = std::numeric_limits<Scalar>::max();
constexpr int FACTOR_THREADS = 256, FACTOR_WARPS = FACTOR_THREADS / 32;

template <class Scalar> struct Tile {
    static constexpr int WIDE = 16 / sizeof(Scalar);
    alignas(16) Scalar at[TILE][TILE + WIDE]; // padded: wide loads of 8 neighbouring rows use different banks
};

template <class Scalar> struct FactorShared {
    Tile<Scalar> lower[TILES * (TILES + 1) / 2]; // tiles of A on and below the diagonal, later those of X^T
    Tile<Scalar> panel[TILES - 1];               // of this step: the tiles of L below the diagonal
    Tile<Scalar> root, inverse;                  // of this step: the tile of L on the diagonal, and that of X
};

// Where tile (i, j), j <= i, lies.
HOST_DEVICE constexpr int tile_place(int i, int j) { return i * (i + 1) / 2 + j; }
HOST_DEVICE constexpr int tile_row(int place) { return place >= 6 ? 3 : place >= 3 ? 2 : place >= 1 ? 1 : 0; }

// An n x n matrix in memory, seen with rows and columns reversed.
template <class Scalar> struct Reversed {
    Scalar* place;
    int n;

    __device__ Scalar& operator()(int row, int col) const { return place[int64_t(n - 1 - row) * n + n - 1 - col]; }
    __device__ bool has(int row, int col) const { return row < n && col < n; }
    __device__ void write(int row, int col, Scalar value) const {
        if (has(row, col)) (*this)(row, col) = value;
    }
};

// The lower half of the matrix; past its end the identity, which is its own factor. Tiles on the diagonal are whole.
template <class Scalar>
__device__ __forceinline__ void load_tiles(Tile<Scalar>* lower, const Reversed<const Scalar>& matrix, int tiles) {
    const int lane = threadIdx.x % 32;
    for (int line = threadIdx.x / 32; line < tiles * (tiles + 1) / 2 * TILE; line += FACTOR_WARPS) {
        const int place = line / TILE, i = tile_row(place), r = line % TILE;
        const int row = i * TILE + r, col = (place - tile_place(i, 0)) * TILE + lane;
        const int low = row < col ? col : row, high = row < col ? row : col;
        lower[place].at[r][lane] = matrix.has(row, col) ? matrix(low, high) : Scalar(row == col);
    }
}

// Neither result has anything below its diagonal, here above it.
template <class Scalar> __device__ __forceinline__ void write_zeros(const Reversed<Scalar>& matrix) {
    for (int row = threadIdx.x / 32; row < matrix.n; row += FACTOR_WARPS)
        for (int col = row + 1 + threadIdx.x % 32; col < matrix.n; col += 32) matrix(row, col) = 0;
}

// The tile at the diagonal becomes its factor and the factor's inverse; one warp. Lane j holds row j of L left of the
// diagonal and column j of X from there on: what is subtracted from either is the same. True unless all pivots are
// positive.
template <class Scalar>
__device__ __forceinline__ bool factor_tile(Tile<Scalar>& tile, Tile<Scalar>& root_tile, Tile<Scalar>& inverse) {
    const int lane = threadIdx.x % 32;
    Scalar own[TILE], diagonal = 0;
#pragma unroll
    for (int k = 0; k < TILE; ++k) own[k] = tile.at[lane][k];
    bool failed = false;
#pragma unroll
    for (int k = 0; k < TILE; ++k) {
        const Scalar square = __shfl_sync(ALL_LANES, own[k], k);
        failed |= !(square > 0 && square <= LARGEST<Scalar>);
        const Scalar root = std::sqrt(square);
        if (lane == k) diagonal = root;
        own[k] = (lane == k ? Scalar(1) : own[k]) / root;
#pragma unroll
        for (int i = k + 1; i < TILE; ++i) {
            const Scalar below = __shfl_sync(ALL_LANES, own[k], i);
            own[i] = (lane == k ? Scalar(0) : own[i]) - below * own[k]; // column k of X begins here
        }
    }
#pragma unroll
    for (int k = 0; k < TILE; ++k) {
        const Scalar x = k >= lane ? own[k] : Scalar(0);
        tile.at[lane][k] = x;
        inverse.at[k][lane] = x;
        root_tile.at[lane][k] = k < lane ? own[k] : k == lane ? diagonal : Scalar(0);
    }
    return failed;
}

// A warp's share of a product: 4 ROWS rows from `first` on, the lane's being first + lane / 8 + 4 r, and of all columns
// lane % 8 + 8 c.
template <class Scalar, int ROWS> struct Share {
    static constexpr int COLS = 4;
    Scalar sum[ROWS][COLS] = {};
    int row, col;

    __device__ explicit Share(int first) : row(first + threadIdx.x % 32 / 8), col(threadIdx.x % 8) {}

    // Of left right^T.
    __device__ __forceinline__ void multiply(const Tile<Scalar>& left, const Tile<Scalar>& right) {
        constexpr int WIDE = Tile<Scalar>::WIDE;
        using Wide = Vector<Scalar, WIDE>;
#pragma unroll 2
        for (int k = 0; k < TILE; k += WIDE) {
            Wide a[ROWS], b[COLS];
#pragma unroll
            for (int r = 0; r < ROWS; ++r) a[r] = *reinterpret_cast<const Wide*>(&left.at[row + 4 * r][k]);
#pragma unroll
            for (int c = 0; c < COLS; ++c) b[c] = *reinterpret_cast<const Wide*>(&right.at[col + 8 * c][k]);
#pragma unroll
            for (int w = 0; w < WIDE; ++w)
#pragma unroll
                for (int r = 0; r < ROWS; ++r)
#pragma unroll
                    for (int c = 0; c < COLS; ++c) sum[r][c] += a[r].part[w] * b[c].part[w];
        }
    }

    template <class Visit> __device__ __forceinline__ void each(const Visit& visit) const {
#pragma unroll
        for (int r = 0; r < ROWS; ++r)
#pragma unroll
            for (int c = 0; c < COLS; ++c) visit(row + 4 * r, col + 8 * c, sum[r][c]);
    }
};

constexpr int HALF = TILE / 2; // rows of a tile that one warp multiplies at a time

// Step t, first: the tiles below the diagonal one become tiles of L, those left of it tiles of X. Six warps do a half
// of one each, two write the results on the diagonal.
template <class Scalar> __device__ __forceinline__ void solve_panel(FactorShared<Scalar>& shared, int t, int tiles,
                                                                    const Reversed<Scalar>& upper,
                                                                    const Reversed<Scalar>& inverse) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, corner = t * TILE;
    if (warp >= 2 * tiles) return;
    if (warp >= 2 * (tiles - 1)) {
        const bool first = warp % 2 == 0;
        const Tile<Scalar>& tile = first ? shared.root : shared.inverse;
        const Reversed<Scalar> to{first ? upper.place : inverse.place, upper.n}; // a copy: no reference into a stack
        for (int r = 0; r < TILE; ++r)
            if (lane <= r) to.write(corner + r, corner + lane, tile.at[r][lane]);
        return;
    }
    const int other = warp / 2 + (warp / 2 >= t), there = other * TILE;
    Share<Scalar, HALF / 4> share(warp % 2 * HALF);
    Tile<Scalar>& from = shared.lower[other > t ? tile_place(other, t) : tile_place(t, other)];
    share.multiply(from, shared.inverse);
    __syncwarp(); // X^T is written to where it was read
    share.each([&](int r, int c, Scalar value) {
        (other > t ? shared.panel[other - 1] : from).at[r][c] = value;
        if (other > t)
            upper.write(there + r, corner + c, value);
        else
            inverse.write(corner + c, there + r, value);
    });
}

// The next tile on the diagonal absorbs step t: all warps, since the next step waits for it.
template <class Scalar> __device__ __forceinline__ void update_next(FactorShared<Scalar>& shared, int t) {
    const Tile<Scalar>& panel = shared.panel[t];
    Share<Scalar, 1> share(threadIdx.x / 32 * 4);
    share.multiply(panel, panel);
    Tile<Scalar>& to = shared.lower[tile_place(t + 1, t + 1)];
    share.each([&](int r, int c, Scalar value) { to.at[r][c] -= value; });
}

// All other tiles in the rows below step t absorb it: all warps but the first, which factors the next tile.
template <class Scalar> __device__ __forceinline__ void update_rest(FactorShared<Scalar>& shared, int t, int tiles) {
    const int begin = 2 * tile_place(t + 1, 0), end = tiles * (tiles + 1);
    for (int half = begin + threadIdx.x / 32 - 1; half < end; half += FACTOR_WARPS - 1) {
        const int place = half / 2, i = tile_row(place), j = place - tile_place(i, 0);
        if (place == tile_place(t + 1, t + 1)) continue;
        const Tile<Scalar>& row = shared.panel[i - 1];
        const Tile<Scalar>& left = j > t ? row : shared.lower[tile_place(t, j)];
        Share<Scalar, HALF / 4> share(half % 2 * HALF);
        share.multiply(left, j > t ? shared.panel[j - 1] : row);
        Tile<Scalar>& to = shared.lower[place];
        share.each([&](int r, int c, Scalar value) { to.at[r][c] = (j == t ? Scalar(0) : to.at[r][c]) - value; });
    }
}

template <class Scalar> __global__ void __launch_bounds__(FACTOR_THREADS)
    factor_kernel(const Scalar* symmetric, Scalar* upper_in, Scalar* inverse_in, int32_t* failed, int n) {
    auto& shared = shared_memory<FactorShared<Scalar>>();
    const int64_t begin = int64_t(blockIdx.x) * n * n;
    const Reversed<Scalar> upper{upper_in + begin, n}, inverse{inverse_in + begin, n};
    const int tiles = (n + TILE - 1) / TILE;
    const bool first_warp = threadIdx.x < 32;
    load_tiles(shared.lower, Reversed<const Scalar>{symmetric + begin, n}, tiles);
    write_zeros(upper);
    write_zeros(inverse);
    __syncthreads();
    bool failure = false;
#pragma unroll 1                      // factor_tile is long code
    for (int t = 0; t < tiles; ++t) { // steps overlap: the tile of step t is factored while t - 1 is completed
        if (first_warp)
            failure |= factor_tile(shared.lower[tile_place(t, t)], shared.root, shared.inverse);
        else if (t > 0)
            update_rest(shared, t - 1, tiles);
        __syncthreads();
        solve_panel(shared, t, tiles, upper, inverse);
        __syncthreads();
        if (t + 1 == tiles) break;
        update_next(shared, t);
        __syncthreads();
    }
    if (threadIdx.x == 0) failed[blockIdx.x] = failure;
}

// symmetric, upper and inverse [batch, n, n], 1 <= n <= 128; failed [batch].
template <class Scalar> void factor_matrices(const Scalar* symmetric, Scalar* upper, Scalar* inverse, int32_t* failed,
                                             int64_t batch, int n, Stream stream) {
    if (batch == 0) return;
    launch(factor_kernel<Scalar>, dim3(unsigned(batch)), FACTOR_THREADS, sizeof(FactorShared<Scalar>), stream,
           symmetric, upper, inverse, failed, n);
}
} // namespace gpu
