// Which elements of a block in shared memory are the largest: radix selection on 31 bits of magnitude, and only where
// several equal the smallest that is kept, a count of those before each. Free of torch.
#pragma once
#include "cocktail_block.cuh"

namespace gpu {
// The largest magnitudes come first.
__device__ __forceinline__ uint32_t key_of_magnitude(float value) { return 0x7fffffff - magnitude_bits(value); }

// Counts the digits above `shift` of the keys from the bound on. Those that lie too far above or below it are counted
// where nobody looks: one address for many threads costs less than a branch for each.
__device__ __forceinline__ void count_digits(BlockShared& shared, int block, uint32_t bound, int shift) {
    const int thread = threadIdx.x;
    for (int bin = FOUR * thread; bin < BINS; bin += STRIDE)
        *reinterpret_cast<RawFour*>(shared.histogram + bin) = RawFour{};
    if (thread == 0) shared.histogram[BINS] = 0;
    __syncthreads();
    for (int i = FOUR * thread; i < block; i += STRIDE) {
        const Four four = *reinterpret_cast<const Four*>(shared.values() + i);
#pragma unroll
        for (const float value : four.at) {
            const uint32_t digit = (key_of_magnitude(value) - bound) >> shift;
            atomicAdd(&shared.histogram[digit < BINS ? digit : BINS], 1u);
        }
    }
    __syncthreads();
}

// The one thread whose bins hold the rank settles the digit. By the whole thread block.
__device__ __forceinline__ void settle_bins(BlockShared& shared, const Threshold& search, int shift) {
    uint32_t counts[BINS_PER_THREAD], sum = 0;
    const uint32_t* own = shared.histogram + threadIdx.x * BINS_PER_THREAD;
#pragma unroll
    for (int b = 0; b < BINS_PER_THREAD; b += FOUR) {
        const RawFour four = *reinterpret_cast<const RawFour*>(own + b);
#pragma unroll
        for (int i = 0; i < FOUR; ++i) sum += counts[b + i] = four.word[i];
    }
    const uint32_t up_to = sum_up_to_here(sum, shared.warp_sums) - sum; // with a barrier: all have read the search
    if (up_to < search.rank && search.rank <= up_to + sum) {
        uint32_t below = up_to, bin = 0, in_bin = 0;
#pragma unroll
        for (int b = 0; b < BINS_PER_THREAD; ++b) {
            const bool here = below + in_bin < search.rank; // nor in the bins before
            below += here ? in_bin : 0;
            bin = here ? b : bin;
            in_bin = here ? counts[b] : in_bin;
        }
        const uint32_t rank = search.rank - below, digit = threadIdx.x * BINS_PER_THREAD + bin;
        const uint32_t bound = search.bound | digit << shift;
        if (rank == in_bin) // all of the bin: no need to look inside
            shared.search = {bound + (1u << shift), 0, 0};
        else
            shared.search = {bound, rank, shift};
    }
    __syncthreads();
}

__device__ __forceinline__ uint32_t lowest_bits(uint32_t bits, uint32_t count) {
    uint32_t taken = 0;
    for (; count > 0 && bits; --count) {
        taken |= bits & -bits;
        bits &= bits - 1;
    }
    return taken;
}

// Of those that equal the bound the first `rank` ones; shared.before has them.
__device__ __forceinline__ void mark_equal(BlockShared& shared, int words, uint32_t rank) {
    const int thread = threadIdx.x;
    const uint32_t equal = thread < words ? shared.before[thread] : 0, count = __popc(equal);
    const uint32_t before = sum_up_to_here(count, shared.warp_sums) - count;
    if (before < rank && count) shared.masks[thread] |= lowest_bits(equal, rank - before);
    __syncthreads();
}

// Marks the `kept` largest of shared.values() in shared.masks, of equal ones the first. By the whole thread block.
__device__ __forceinline__ void mark_largest(BlockShared& shared, const CocktailLayout& layout) {
    const int thread = threadIdx.x, lane = thread % 32, block = layout.block;
    if (thread == 0) shared.search = {0, uint32_t(layout.kept), 31};
    __syncthreads();
    Threshold search = shared.search;
    while (search.open > 0) {
        const int shift = search.open < DIGIT_BITS ? 0 : search.open - DIGIT_BITS;
        count_digits(shared, block, search.bound, shift);
        settle_bins(shared, search, shift);
        search = shared.search;
    }
    for (int first = thread - lane; first < block; first += COCKTAIL_THREADS) { // a warp, a word
        const uint32_t key = key_of_magnitude(shared.values()[first + lane]);
        const uint32_t below = __ballot_sync(ALL_LANES, key < search.bound);
        const uint32_t equal = __ballot_sync(ALL_LANES, key == search.bound);
        if (lane == 0) shared.masks[first / 32] = below, shared.before[first / 32] = equal;
    }
    __syncthreads();
    if (search.rank > 0) mark_equal(shared, block / 32, search.rank);
}
} // namespace gpu
