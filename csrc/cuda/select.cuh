// Exact selection of the smallest scores on CUDA: counting for a handful, radix selection in one thread block for a
// segment, radix selection over the whole grid for a few long segments. Free of torch.
#pragma once
#include <type_traits>

#include "device.cuh"
#include "order.h"
#include "sweep.h"

namespace gpu {
constexpr int SELECT_THREADS = 256;
constexpr int SELECT_WARPS = SELECT_THREADS / 32;
constexpr int DIGIT_BITS = 11;
constexpr int BINS = 1 << DIGIT_BITS;
constexpr int BINS_PER_THREAD = BINS / SELECT_THREADS;
// Where one route gives way to the next: estimates, not yet measured on a GPU.
constexpr int64_t LONGEST_COUNTED = 128;
constexpr int64_t LONGEST_IN_BLOCK = 1 << 16;
constexpr int64_t SEGMENTS_TO_FILL_GPU = 128;
constexpr int64_t SCORES_PER_BLOCK = 1 << 12; // of the grid-wide kernels
constexpr int64_t MAX_BLOCKS = 1 << 10;

// Score and index in one number, the score's key above. No two are equal, so ties need no care: the smallest `count`
// are those up to the count-th smallest place.
template <class Scalar> using Place = std::conditional_t<sizeof(Scalar) == 4, uint64_t, unsigned __int128>;

template <class Scalar> HOST_DEVICE Place<Scalar> place_of(Scalar score, int64_t index, int index_bits) {
    return Place<Scalar>(order_key(score)) << index_bits | uint64_t(index);
}

// The search for the place of a rank, digit by digit from the top. Once no bit is open, `bound` is the largest place
// among the smallest `count`, or lies between it and the next.
template <class Scalar> struct Search {
    Place<Scalar> bound; // its open low bits are 0
    uint32_t rank;       // 1-based, among the places that share the bits found so far
    int open;

    HOST_DEVICE int shift() const { return open < DIGIT_BITS ? 0 : open - DIGIT_BITS; }
    HOST_DEVICE bool admits(Place<Scalar> place) const { return place >> open == bound >> open; }
    HOST_DEVICE uint32_t digit(Place<Scalar> place) const {
        return uint32_t(place >> shift()) & ((1u << (open - shift())) - 1);
    }
    HOST_DEVICE void settle(uint32_t bin, uint32_t below, uint32_t in_bin) {
        rank -= below;
        bound |= Place<Scalar>(bin) << shift();
        open = shift();
        if (rank == in_bin) { // the whole bin is taken: no need to look inside
            bound |= (Place<Scalar>(1) << open) - 1;
            open = 0;
        }
    }
};

HOST_DEVICE constexpr int bits_to_index(int64_t length) {
    int bits = 0;
    while (int64_t(1) << bits < length) ++bits;
    return bits;
}

template <class Scalar> HOST_DEVICE constexpr int place_bits(int64_t length) {
    return 8 * sizeof(Scalar) + bits_to_index(length);
}

// Digits of a place.
template <class Scalar> HOST_DEVICE constexpr int passes_over(int64_t length) {
    return int(ceil_div(place_bits<Scalar>(length), DIGIT_BITS));
}

template <class Scalar> struct SelectShared {
    Search<Scalar> search;
    uint32_t warp_sums[SELECT_WARPS];
    uint32_t histogram[BINS];
};

// Settle the next digit: the one thread whose bins hold the rank finds it. Called by the whole block.
template <class Scalar>
__device__ __forceinline__ void settle_digit(Search<Scalar>& search, uint32_t* warp_sums, const uint32_t* histogram) {
    uint32_t counts[BINS_PER_THREAD], sum = 0;
#pragma unroll
    for (int b = 0; b < BINS_PER_THREAD; ++b) sum += counts[b] = histogram[threadIdx.x * BINS_PER_THREAD + b];
    const uint32_t rank = search.rank; // read by all before the barrier inside the sum, written by one after it
    uint32_t up_to = sum_up_to_here(sum, warp_sums) - sum;
    if (up_to < rank && rank <= up_to + sum) {
        uint32_t bin = threadIdx.x * BINS_PER_THREAD, in_bin = 0;
#pragma unroll
        for (int b = 0; b < BINS_PER_THREAD; ++b) {
            if (up_to + in_bin >= rank) break;
            up_to += in_bin;
            in_bin = counts[b];
            bin = threadIdx.x * BINS_PER_THREAD + b;
        }
        search.settle(bin, up_to, in_bin);
    }
    __syncthreads();
}

// Add the digits of the block's share of the scores to a histogram in shared memory.
template <class Scalar> __device__ __forceinline__ void
count_digits(SelectShared<Scalar>& shared, Scores<Scalar> scores, int64_t length, int64_t block, int64_t blocks) {
    const Search<Scalar> search = shared.search;
    const int index_bits = bits_to_index(length);
    for (int b = threadIdx.x; b < BINS; b += SELECT_THREADS) shared.histogram[b] = 0;
    __syncthreads();
    for (int64_t i = block * SELECT_THREADS + threadIdx.x; i < length; i += blocks * SELECT_THREADS) {
        const auto place = place_of(scores[i], i, index_bits);
        if (search.admits(place)) atomicAdd(&shared.histogram[search.digit(place)], 1u);
    }
    __syncthreads();
}

template <class Scalar> __device__ __forceinline__ void write_mask(const Search<Scalar>& search, Scores<Scalar> scores,
                                                                   bool* mask, int64_t length, int64_t block,
                                                                   int64_t blocks) {
    const int index_bits = bits_to_index(length);
    for (int64_t i = block * SELECT_THREADS + threadIdx.x; i < length; i += blocks * SELECT_THREADS)
        mask[i] = place_of(scores[i], i, index_bits) <= search.bound;
}

// Whole segments to a block, one thread a score: count who goes before it.
template <class Scalar> __global__ void __launch_bounds__(SELECT_THREADS)
    select_counting_kernel(Scores<Scalar> scores, bool* mask, int64_t segments, int length, int count) {
    const int per_block = SELECT_THREADS / length, thread = threadIdx.x, own = thread % length;
    const int64_t segment = int64_t(blockIdx.x) * per_block + thread / length;
    if (thread >= per_block * length || segment >= segments) return;
    const Scores<Scalar> score = scores.from(segment * length);
    int before = 0;
    for (int other = 0; other < length; ++other) before += precedes(score[other], other, score[own], own);
    mask[segment * length + own] = before < count;
}

// One segment a block.
template <class Scalar> __global__ void __launch_bounds__(SELECT_THREADS)
    select_block_kernel(Scores<Scalar> scores, bool* mask, int64_t length, uint32_t count) {
    auto& shared = shared_memory<SelectShared<Scalar>>();
    scores = scores.from(blockIdx.x * length);
    mask += blockIdx.x * length;
    if (threadIdx.x == 0) shared.search = {0, count, place_bits<Scalar>(length)};
    __syncthreads();
    while (shared.search.open > 0) {
        count_digits(shared, scores, length, 0, 1);
        settle_digit(shared.search, shared.warp_sums, shared.histogram);
    }
    write_mask(shared.search, scores, mask, length, 0, 1);
}

// Global memory of the grid-wide selection: for each segment and pass the histogram, and the search before the pass.
template <class Scalar> struct Scratch {
    uint32_t* histograms;     // [segments, passes, BINS], zero at first
    Search<Scalar>* searches; // [segments, passes]
};

// Where the search stands before `pass`: every block works it out from the histogram of the pass before.
template <class Scalar> __device__ __forceinline__ void resume(SelectShared<Scalar>& shared, Scratch<Scalar> scratch,
                                                               int64_t length, uint32_t count, int pass) {
    const int64_t last = int64_t(blockIdx.y) * passes_over<Scalar>(length) + pass - 1;
    if (threadIdx.x == 0)
        shared.search = pass ? scratch.searches[last] : Search<Scalar>{0, count, place_bits<Scalar>(length)};
    __syncthreads();
    if (pass && shared.search.open > 0) settle_digit(shared.search, shared.warp_sums, scratch.histograms + last * BINS);
}

// One digit of the search, blockIdx.y the segment.
template <class Scalar> __global__ void __launch_bounds__(SELECT_THREADS)
    select_digit_kernel(Scores<Scalar> scores, Scratch<Scalar> scratch, int64_t length, uint32_t count, int pass) {
    auto& shared = shared_memory<SelectShared<Scalar>>();
    const int64_t place = int64_t(blockIdx.y) * passes_over<Scalar>(length) + pass;
    resume(shared, scratch, length, count, pass);
    if (blockIdx.x == 0 && threadIdx.x == 0) scratch.searches[place] = shared.search;
    if (shared.search.open == 0) return;
    count_digits(shared, scores.from(blockIdx.y * length), length, blockIdx.x, gridDim.x);
    for (int b = threadIdx.x; b < BINS; b += SELECT_THREADS)
        if (shared.histogram[b]) atomicAdd(&scratch.histograms[place * BINS + b], shared.histogram[b]);
}

template <class Scalar> __global__ void __launch_bounds__(SELECT_THREADS)
    select_mask_kernel(Scores<Scalar> scores, bool* mask, Scratch<Scalar> scratch, int64_t length, uint32_t count) {
    auto& shared = shared_memory<SelectShared<Scalar>>();
    resume(shared, scratch, length, count, passes_over<Scalar>(length));
    write_mask(shared.search, scores.from(blockIdx.y * length), mask + blockIdx.y * length, length, blockIdx.x,
               gridDim.x);
}

enum class Route { counting, block, grid };

inline Route route_of(int64_t segments, int64_t length) {
    if (length <= LONGEST_COUNTED) return Route::counting;
    return length <= LONGEST_IN_BLOCK || segments >= SEGMENTS_TO_FILL_GPU ? Route::block : Route::grid;
}

template <class Scalar> void select_on_grid(Scores<Scalar> scores, bool* mask, int64_t segments, int64_t length,
                                            uint32_t count, Scratch<Scalar> scratch, Stream stream) {
    const int64_t blocks = ceil_div(length, SCORES_PER_BLOCK);
    const dim3 grid(unsigned(blocks < MAX_BLOCKS ? blocks : MAX_BLOCKS), unsigned(segments));
    constexpr size_t shared_bytes = sizeof(SelectShared<Scalar>);
    for (int pass = 0; pass < passes_over<Scalar>(length); ++pass)
        launch(select_digit_kernel<Scalar>, grid, SELECT_THREADS, shared_bytes, stream, scores, scratch, length, count,
               pass);
    launch(select_mask_kernel<Scalar>, grid, SELECT_THREADS, shared_bytes, stream, scores, mask, scratch, length,
           count);
}

// Mark the `count` > 0 smallest of each segment of at most 2^31 scores, at least one segment; only Route::grid uses the
// scratch.
template <class Scalar> void select_segments(Scores<Scalar> scores, bool* mask, int64_t segments, int64_t length,
                                             int64_t count, Route route, Scratch<Scalar> scratch, Stream stream) {
    if (route == Route::counting)
        launch(select_counting_kernel<Scalar>, dim3(unsigned(ceil_div(segments, SELECT_THREADS / length))),
               SELECT_THREADS, size_t(0), stream, scores, mask, segments, int(length), int(count));
    else if (route == Route::block)
        launch(select_block_kernel<Scalar>, dim3(unsigned(segments)), SELECT_THREADS, sizeof(SelectShared<Scalar>),
               stream, scores, mask, length, uint32_t(count));
    else
        select_on_grid(scores, mask, segments, length, uint32_t(count), scratch, stream);
}
} // namespace gpu
