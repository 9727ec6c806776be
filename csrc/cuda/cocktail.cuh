// CocktailSGD's compression on CUDA: first whether all is finite, then a thread block for each sampled block and more
// for those between them. Who is the last of the sampled ones writes the header. Free of torch.
#pragma once
#include "cocktail_sources.cuh"

namespace gpu {
// Estimates, not yet measured on a GPU.
constexpr int RESIDENT = 4; // thread blocks of a multiprocessor, at least: asked for fewer registers, nvcc spills
constexpr int TILES_PER_CHECK = 4;
constexpr int64_t TILES_PER_PIECE = 4;
constexpr int64_t MOST_PIECES = 1 << 15;
constexpr int64_t WORDS_PER_BLOCK = 1 << 12, MOST_SUMMING = 1 << 11; // of a checksum

// While a payload is made its header is a draft, zero at first: the flags lie where they stay, and where zeros and the
// checksum will be, how many of the sampled blocks are done and the sum of what they wrote. Whoever finds what is not
// finite says so before any block is begun. A payload is on a boundary of 8 bytes; it is all that launches share.
struct Draft {
    uint32_t* payload;
    static constexpr int FLAGS = 1, DONE = 13, SUM = 14; // which words
    static constexpr uint32_t NOT_FINITE = COCKTAIL_NOT_FINITE << 8;

    // Also while the header is written, for that changes other bits of the word.
    __device__ __forceinline__ bool finite() const { return !(load_relaxed(payload + FLAGS) & NOT_FINITE); }
    __device__ __forceinline__ void say_not_finite() const {
        if (finite()) atomicOr(payload + FLAGS, NOT_FINITE); // once said, nobody needs to wait for his turn
    }
    __device__ __forceinline__ unsigned long long* sum() const {
        return reinterpret_cast<unsigned long long*>(payload + SUM);
    }
    // One thread for its block: how many were done before.
    __device__ __forceinline__ uint32_t done(uint64_t part) const {
        atomicAdd(sum(), static_cast<unsigned long long>(part));
        __threadfence(); // whoever sees the count sees the sum
        return atomicAdd(payload + DONE, 1u);
    }
    // One warp, after all blocks are done.
    __device__ __forceinline__ void write_header(const CocktailLayout& layout) const {
        const int lane = threadIdx.x % 32;
        const uint32_t flags = finite() ? 0 : COCKTAIL_NOT_FINITE;
        uint32_t word = 0;
#pragma unroll
        for (int i = 0; i < COCKTAIL_HEADER_WORDS; ++i) // with an index that is known there is no table in memory
            word = lane == i ? header_word(layout, flags, i) : word;
        __threadfence();
        __syncwarp(); // spare: it orders atomics, which never race: all see what the one that counted saw
        uint64_t total = word * checksum_weight(lane);
        if (lane == 0) total += atomicAdd(sum(), 0ull); // where atomics are, past the cache of the multiprocessor
        total = over_warp(total, [](uint64_t a, uint64_t b) { return a + b; });
        __syncwarp(); // the sum is read
        if (lane == FLAGS)
            atomicOr(payload + FLAGS, word); // others still look at their bit
        else if (lane < COCKTAIL_HEADER_WORDS)
            payload[lane] = lane == COCKTAIL_HEADER_WORDS - 1 ? uint32_t(total >> 32) : word;
    }
};

// Adds what all threads of the block bring.
__device__ __forceinline__ void add_for_block(unsigned long long* total, uint64_t own, uint64_t* warp_sums) {
    const uint64_t sum = sum_up_to_here(own, warp_sums);
    if (threadIdx.x == COCKTAIL_THREADS - 1) atomicAdd(total, static_cast<unsigned long long>(sum));
}

// The block of a stratum is written, and each thread has its part of the checksum; with a barrier.
__device__ __forceinline__ void finish_block(Draft draft, const CocktailLayout& layout, uint64_t own,
                                             uint64_t* warp_sums) {
    const uint64_t sum = sum_up_to_here(own, warp_sums);
    if (threadIdx.x < COCKTAIL_THREADS - 32) return;
    const uint32_t before = threadIdx.x == COCKTAIL_THREADS - 1 ? draft.done(sum) : 0;
    if (__shfl_sync(ALL_LANES, before, 31) + 1 == uint32_t(layout.sampled)) draft.write_header(layout);
}

// Writes the sampled block of a stratum.
template <class Source> __device__ __forceinline__ void
compress_block(const Source& source, const CocktailLayout& layout, Draft draft, int64_t stratum) {
    auto& shared = shared_memory<BlockShared>();
    const int64_t begin = block_of_stratum(shared.block, layout, stratum) * layout.block;
    float* values = shared.values();
    source.fill(shared, layout, stratum, begin);
    __syncthreads(); // spare: either way now has one of its own before anybody reads
    if (layout.mask_bytes()) {
        mark_largest(shared, layout);
    } else {
        if (threadIdx.x < MOST_WORDS) shared.masks[threadIdx.x] = ~0u;
        __syncthreads(); // spare: a thread lists its own mask before the next
    }
    list_places(shared, layout);
    const BlockWriter to(layout, draft.payload, stratum);
    const auto take = [&](int place, float decoded) { source.sent(begin + place, values[place], decoded); };
    const uint64_t sum = write_block(shared, layout, to, take);
    finish_block(draft, layout, sum, shared.sums); // with a barrier, after which all is taken
    source.store(shared, layout, begin);
}

__device__ __forceinline__ void clear_block(const CocktailLayout& layout, uint32_t* payload, int64_t stratum) {
    const int words = layout.block_bytes() / 4;
    uint32_t* own = payload + COCKTAIL_HEADER_WORDS + stratum * words;
    for (int w = threadIdx.x; w < words; w += COCKTAIL_THREADS) own[w] = 0;
}

// A piece of the blocks of a stratum that are not sampled, `pieces` of which are all: as if the sampled one were not
// there.
__device__ __forceinline__ void keep_rest(const GradientSource& source, const CocktailLayout& layout, int64_t stratum,
                                          int64_t piece, int64_t pieces) {
    const int64_t sampled = block_of_stratum(shared_memory<int64_t>(), layout, stratum) * layout.block;
    const int64_t begin = stratum_begin(layout, stratum) * layout.block;
    const int64_t count = stratum_begin(layout, stratum + 1) * layout.block - layout.block - begin;
    for (int64_t start = piece * TILE + threadIdx.x * FOUR; start < count; start += pieces * TILE) {
        RawPair raw[IN_FLIGHT];
        const auto first = [&](int j) { return begin + start + j * STRIDE; };
        const auto real = [&](int j) { return first(j) < sampled ? first(j) : first(j) + layout.block; };
#pragma unroll
        for (int j = 0; j < IN_FLIGHT; ++j)
            if (start + j * STRIDE < count) raw[j] = source.load(real(j));
#pragma unroll
        for (int j = 0; j < IN_FLIGHT; ++j)
            if (start + j * STRIDE < count) store_four(source.residual, real(j), source.value(raw[j]));
    }
}

// What a thread block does. Sampled blocks compute and the rest moves memory, so that a multiprocessor should have some
// of each: at first one in three is a sampled block, and at last, when they are short, none. The last strata come
// first, for the check before has left the end of the tensor in the cache.
struct Work {
    int64_t stratum, piece; // -1: its sampled block

    __device__ __forceinline__ Work(unsigned block, unsigned sampled, unsigned pieces) {
        const unsigned every = pieces < 2 ? pieces + 1 : 3, turn = block / every;
        const bool mixed = turn < sampled;
        if (mixed && block % every == 0) {
            stratum = turn, piece = -1;
        } else {
            const unsigned rest = block - (mixed ? turn + 1 : sampled);
            stratum = rest / pieces, piece = rest % pieces;
        }
        stratum = sampled - 1 - stratum;
    }
};

template <class Source> __global__ void __launch_bounds__(COCKTAIL_THREADS, RESIDENT)
    compress_kernel(Source source, CocktailLayout layout, unsigned pieces, Draft draft) {
    const Work work(blockIdx.x, unsigned(layout.sampled), pieces);
    const bool finite = draft.finite();
    if (work.piece >= 0) {
        if constexpr (std::is_same_v<Source, GradientSource>)
            if (finite) keep_rest(source, layout, work.stratum, work.piece, pieces);
    } else if (finite) {
        compress_block(source, layout, draft, work.stratum);
    } else {
        clear_block(layout, draft.payload, work.stratum);
        finish_block(draft, layout, 0, shared_memory<BlockShared>().sums);
    }
}

// All of a gradient times the scale, `TILES_PER_CHECK` tiles to a thread block. The residual is none of it.
static __global__ void __launch_bounds__(COCKTAIL_THREADS) check_gradient_kernel(GradientSource source, Draft draft) {
    uint32_t most = 0;
    int64_t first = int64_t(blockIdx.x) * TILES_PER_CHECK * TILE + threadIdx.x * FOUR;
    for (int tile = 0; tile < TILES_PER_CHECK; ++tile, first += TILE) {
        RawFour raw[IN_FLIGHT];
#pragma unroll
        for (int j = 0; j < IN_FLIGHT; ++j) raw[j] = load_raw<false>(source.gradient, first + j * STRIDE);
#pragma unroll
        for (int j = 0; j < IN_FLIGHT; ++j) most = largest_bits(source.scaled(raw[j]), most);
    }
    if (most >= INFINITY_BITS) draft.say_not_finite();
}

// Of the differences only those that are sampled.
static __global__ void __launch_bounds__(COCKTAIL_THREADS)
    check_delta_kernel(DeltaSource source, CocktailLayout layout, Draft draft) {
    const int64_t begin = block_of_stratum(shared_memory<int64_t>(), layout, blockIdx.x) * layout.block;
    uint32_t most = 0;
    each_four<false>(source, layout, begin, [&](int, const Four& four) { most = largest_bits(four, most); });
    if (most >= INFINITY_BITS) draft.say_not_finite();
}

// Of payloads their flags.
static __global__ void __launch_bounds__(COCKTAIL_THREADS)
    check_payloads_kernel(MeanSource source, CocktailLayout layout, Draft draft) {
    for (int64_t worker = threadIdx.x; worker < source.workers; worker += COCKTAIL_THREADS)
        if (source.payloads[worker * layout.payload_bytes() + COCKTAIL_FLAGS_AT] & COCKTAIL_NOT_FINITE)
            draft.say_not_finite();
}
} // namespace gpu
