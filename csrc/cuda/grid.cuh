// search_grid, quantize and dequantize on CUDA: the arithmetic is grid.h's, here is who does what. Free of torch.
#pragma once
#include <cmath>

#include "grid.h"
#include "rows.cuh"

namespace gpu {
constexpr int SEARCH_THREADS = 256;
constexpr int SEARCH_WARPS = SEARCH_THREADS / 32;
constexpr int FEW_HELD = 4, MANY_HELD = 32; // weights of a segment that a lane holds in registers
constexpr int BATCH = 4;                    // candidates of one pass over a segment that is too long for that

// The best grid so far: the first of least error, which may be infinite; one that is NaN is never kept.
template <class Scalar> struct Best {
    Scalar error = Scalar(INFINITY);
    Grid<Scalar> grid = {Scalar(1), Scalar(0)};

    HOST_DEVICE void offer(int index, Scalar candidate_error, Grid<Scalar> candidate) {
        if (!(index == 0 ? candidate_error <= error : candidate_error < error)) return;
        error = candidate_error;
        grid = candidate;
    }
};

struct GridSearch {
    int64_t length;
    int bits, candidates;
    bool symmetric;

    template <class Scalar> HOST_DEVICE Grid<Scalar> candidate(Scalar low, Scalar high, int index) const {
        return candidate_grid(low, high, bits, symmetric, index, candidates);
    }
    template <class Scalar> HOST_DEVICE Scalar error_of(Scalar weight, Grid<Scalar> grid) const {
        return squared_error<Scalar, Scalar>(weight, grid.scale, -grid.zero, Scalar((1 << bits) - 1) - grid.zero);
    }
};

struct Larger {
    template <class Scalar> HOST_DEVICE Scalar operator()(Scalar a, Scalar b) const { return a < b ? b : a; }
};
struct Sum {
    template <class Scalar> HOST_DEVICE Scalar operator()(Scalar a, Scalar b) const { return a + b; }
};

// Over `lanes` neighbours of a warp, the same result in each; the numbers are added in the same order every time.
template <class Scalar, class Join> __device__ __forceinline__ Scalar join_lanes(Scalar value, int lanes, Join join) {
    for (int step = lanes / 2; step > 0; step /= 2) value = join(value, __shfl_xor_sync(ALL_LANES, value, step));
    return value;
}

// `lanes` threads of a warp to a segment of at most HELD * lanes weights, which they hold in registers. What lies past
// the end is 0, which the range holds anyway and which is rounded without an error.
template <class Scalar, int HELD> __global__ void __launch_bounds__(SEARCH_THREADS)
    search_warp_kernel(const Scalar* weight, Scalar* scale, uint8_t* zero, int64_t segments, int lanes,
                       GridSearch search) {
    const int lane = threadIdx.x % lanes, length = int(search.length);
    const int64_t segment = int64_t(blockIdx.x) * (SEARCH_THREADS / lanes) + threadIdx.x / lanes;
    const bool present = segment < segments;
    Scalar held[HELD], below = 0, above = 0; // the range is -below .. above
#pragma unroll
    for (int h = 0; h < HELD; ++h) {
        const int i = h * lanes + lane;
        held[h] = present && i < length ? weight[segment * length + i] : Scalar(0);
        below = Larger()(below, -held[h]);
        above = Larger()(above, held[h]);
    }
    below = join_lanes(below, lanes, Larger());
    above = join_lanes(above, lanes, Larger());
    Best<Scalar> best;
    for (int first = 0; first < search.candidates; first += lanes) {
        const Grid<Scalar> own = search.candidate(-below, above, first + lane); // each lane works out another one
        for (int c = 0; c < lanes && first + c < search.candidates; ++c) {
            const Grid<Scalar> grid{__shfl_sync(ALL_LANES, own.scale, c, lanes),
                                    __shfl_sync(ALL_LANES, own.zero, c, lanes)};
            Scalar error = 0;
#pragma unroll
            for (int h = 0; h < HELD; ++h) {
                if (h * lanes >= length) break;
                error += search.error_of(held[h], grid);
            }
            best.offer(first + c, join_lanes(error, lanes, Sum()), grid);
        }
    }
    if (!present || lane != 0) return;
    scale[segment] = best.grid.scale;
    zero[segment] = uint8_t(best.grid.zero);
}

template <class Scalar> struct SearchShared {
    Scalar parts[SEARCH_WARPS][BATCH];
};

// Over the whole block, the same results in each thread.
template <int COUNT, class Scalar, class Join>
__device__ __forceinline__ void join_block(Scalar (&values)[COUNT], SearchShared<Scalar>& shared, Join join) {
    __syncthreads(); // the last results have been read
#pragma unroll
    for (int v = 0; v < COUNT; ++v) {
        const Scalar part = join_lanes(values[v], 32, join);
        if (threadIdx.x % 32 == 0) shared.parts[threadIdx.x / 32][v] = part;
    }
    __syncthreads();
#pragma unroll
    for (int v = 0; v < COUNT; ++v) {
        values[v] = shared.parts[0][v];
        for (int warp = 1; warp < SEARCH_WARPS; ++warp) values[v] = join(values[v], shared.parts[warp][v]);
    }
}

// A block to a segment, which is read again for every BATCH candidates.
template <class Scalar> __global__ void __launch_bounds__(SEARCH_THREADS)
    search_block_kernel(const Scalar* weight, Scalar* scale, uint8_t* zero, GridSearch search) {
    auto& shared = shared_memory<SearchShared<Scalar>>();
    const int64_t length = search.length;
    const Scalar* own = weight + blockIdx.x * length;
    Scalar ends[2] = {0, 0}; // the range is -ends[0] .. ends[1]
    for (int64_t i = threadIdx.x; i < length; i += SEARCH_THREADS) {
        ends[0] = Larger()(ends[0], -own[i]);
        ends[1] = Larger()(ends[1], own[i]);
    }
    join_block(ends, shared, Larger());
    Best<Scalar> best;
    for (int first = 0; first < search.candidates; first += BATCH) {
        Grid<Scalar> grids[BATCH];
        Scalar errors[BATCH] = {};
#pragma unroll
        for (int c = 0; c < BATCH; ++c) grids[c] = search.candidate(-ends[0], ends[1], first + c);
        for (int64_t i = threadIdx.x; i < length; i += SEARCH_THREADS) {
            const Scalar value = own[i];
#pragma unroll
            for (int c = 0; c < BATCH; ++c) errors[c] += search.error_of(value, grids[c]);
        }
        join_block(errors, shared, Sum());
#pragma unroll
        for (int c = 0; c < BATCH; ++c)
            if (first + c < search.candidates) best.offer(first + c, errors[c], grids[c]);
    }
    if (threadIdx.x != 0) return;
    scale[blockIdx.x] = best.grid.scale;
    zero[blockIdx.x] = uint8_t(best.grid.zero);
}

// The grid of each segment of at least one weight.
template <class Scalar> void search_segments(const Scalar* weight, Scalar* scale, uint8_t* zero, int64_t segments,
                                             GridSearch search, Stream stream) {
    if (segments == 0) return;
    if (search.length > 32 * MANY_HELD)
        return launch(search_block_kernel<Scalar>, dim3(unsigned(segments)), SEARCH_THREADS,
                      sizeof(SearchShared<Scalar>), stream, weight, scale, zero, search);
    const bool few = search.length <= 32 * FEW_HELD;
    const int lanes = few ? lanes_over(ceil_div(search.length, FEW_HELD), 32) : 32;
    launch(few ? search_warp_kernel<Scalar, FEW_HELD> : search_warp_kernel<Scalar, MANY_HELD>,
           dim3(unsigned(ceil_div(segments, SEARCH_THREADS / lanes))), SEARCH_THREADS, size_t(0), stream, weight, scale,
           zero, segments, lanes, search);
}

// WIDTH neighbours of a segment to a thread.
template <class Scalar, int WIDTH> struct Quantize {
    const Scalar *weight, *scale;
    const uint8_t* zero;
    uint8_t* codes;
    int64_t length;
    int bits;

    __device__ __forceinline__ void operator()(int64_t segment, int64_t unit) const {
        const int64_t first = segment * length + unit * WIDTH;
        const Scalar step = scale[segment], offset = zero[segment];
        const Scalar least = -offset, most = Scalar((1 << bits) - 1) - offset;
        const auto in = load_wide<Vector<Scalar, WIDTH>>(weight + first);
        Vector<uint8_t, WIDTH> out;
#pragma unroll
        for (int w = 0; w < WIDTH; ++w)
            out.part[w] = uint8_t(nearest_level<Scalar, Scalar>(in.part[w], step, least, most) + offset);
        store_wide(codes + first, out);
    }
};

template <class Scalar, int WIDTH> struct Dequantize {
    const uint8_t *codes, *zero;
    const Scalar* scale;
    Scalar* weight;
    int64_t length;

    __device__ __forceinline__ void operator()(int64_t segment, int64_t unit) const {
        const int64_t first = segment * length + unit * WIDTH;
        const Scalar step = scale[segment], offset = zero[segment];
        const auto in = load_wide<Vector<uint8_t, WIDTH>>(codes + first);
        Vector<Scalar, WIDTH> out;
#pragma unroll
        for (int w = 0; w < WIDTH; ++w) out.part[w] = (Scalar(in.part[w]) - offset) * step;
        store_wide(weight + first, out);
    }
};

template <class Scalar> constexpr int FULL_WIDTH = 16 / sizeof(Scalar);

// Whether every segment can be moved 16 bytes of weights at a time.
template <class Scalar> bool moves_wide(const Scalar* weight, const uint8_t* codes, int64_t length) {
    constexpr int WIDTH = FULL_WIDTH<Scalar>;
    return length % WIDTH == 0 && aligned_for<Vector<Scalar, WIDTH>>(weight) &&
           aligned_for<Vector<uint8_t, WIDTH>>(codes);
}

template <class Scalar> void quantize_segments(const Scalar* weight, const Scalar* scale, const uint8_t* zero,
                                               uint8_t* codes, int64_t segments, int64_t length, int bits,
                                               Stream stream) {
    constexpr int WIDTH = FULL_WIDTH<Scalar>;
    if (moves_wide(weight, codes, length))
        map_rows(Quantize<Scalar, WIDTH>{weight, scale, zero, codes, length, bits}, segments, length / WIDTH, stream);
    else
        map_rows(Quantize<Scalar, 1>{weight, scale, zero, codes, length, bits}, segments, length, stream);
}

template <class Scalar> void dequantize_segments(const uint8_t* codes, const Scalar* scale, const uint8_t* zero,
                                                 Scalar* weight, int64_t segments, int64_t length, Stream stream) {
    constexpr int WIDTH = FULL_WIDTH<Scalar>;
    if (moves_wide(weight, codes, length))
        map_rows(Dequantize<Scalar, WIDTH>{codes, zero, scale, weight, length}, segments, length / WIDTH, stream);
    else
        map_rows(Dequantize<Scalar, 1>{codes, zero, scale, weight, length}, segments, length, stream);
}
} // namespace gpu
