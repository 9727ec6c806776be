// A block of CocktailSGD in shared memory: where its kept elements lie, and what a payload's block decodes to. One
// thread block to each. Free of torch.
#pragma once
#include "cocktail_numbers.cuh"

namespace gpu {
constexpr int MOST_WORDS = COCKTAIL_LARGEST_BLOCK / 32;
static_assert(BINS * sizeof(uint32_t) >= COCKTAIL_LARGEST_BLOCK);

// The search for the `rank`-th smallest of the keys, digit by digit from the top. Once no bit is open, all keys below
// `bound` are among the smallest, and `rank` of those that equal it.
struct Threshold {
    uint32_t bound; // its open low bits are 0
    uint32_t rank;  // among those whose other bits are the bound's
    int open;
};

// After it lie the block's numbers as floats, then where the kept ones are, 16 bits each.
struct alignas(16) BlockShared {
    alignas(16) uint32_t histogram[BINS + 1]; // and, later, the codes, a byte each
    Threshold search;
    int64_t block; // which one
    uint64_t sums[COCKTAIL_WARPS];
    uint32_t warp_sums[COCKTAIL_WARPS];
    uint32_t kept;                                  // the bits of the mask
    uint32_t masks[MOST_WORDS], before[MOST_WORDS]; // of 32 elements each

    static size_t bytes(int block) { return sizeof(BlockShared) + block * (sizeof(float) + sizeof(uint16_t)); }
    __device__ __forceinline__ float* values() { return reinterpret_cast<float*>(this + 1); }
    __device__ __forceinline__ uint16_t* places(int block) { return reinterpret_cast<uint16_t*>(values() + block); }
    __device__ __forceinline__ uint8_t* codes() { return reinterpret_cast<uint8_t*>(histogram); }
};

// Which block of a stratum is sampled. By the whole thread block; one thread divides for all.
__device__ __forceinline__ int64_t block_of_stratum(int64_t& shared, const CocktailLayout& layout, int64_t stratum) {
    if (threadIdx.x == 0) shared = sampled_block(layout, stratum);
    __syncthreads();
    return shared;
}

// Lists where the bits of shared.masks are, in order, in shared.places(): so many of them, `kept` at most.
__device__ __forceinline__ int list_places(BlockShared& shared, const CocktailLayout& layout) {
    const int thread = threadIdx.x, lane = thread % 32, words = layout.block / 32;
    uint16_t* places = shared.places(layout.block);
    const uint32_t count = thread < words ? __popc(shared.masks[thread]) : 0;
    const uint32_t up_to = sum_up_to_here(count, shared.warp_sums);
    if (thread < words) shared.before[thread] = up_to - count;
    if (thread == COCKTAIL_THREADS - 1) shared.kept = up_to;
    __syncthreads();
    for (int word = thread / 32; word < words; word += COCKTAIL_WARPS) {
        const uint32_t bits = shared.masks[word];
        const uint32_t rank = shared.before[word] + __popc(bits & ((1u << lane) - 1));
        if ((bits >> lane & 1) && rank < uint32_t(layout.kept)) places[rank] = uint16_t(word * 32 + lane);
    }
    __syncthreads();
    return shared.kept < uint32_t(layout.kept) ? int(shared.kept) : layout.kept;
}

// A block of a payload, whose bytes may be anything and lie anywhere.
struct BlockReader {
    const uint8_t* mask;
    const uint8_t* codes;
    const uint8_t* scales;

    __device__ __forceinline__ BlockReader(const CocktailLayout& layout, const uint8_t* payload, int64_t stratum)
        : mask(payload + COCKTAIL_HEADER_BYTES + stratum * layout.block_bytes()), codes(mask + layout.mask_bytes()),
          scales(codes + layout.code_bytes()) {}

    static __device__ __forceinline__ uint16_t half_at(const uint8_t* from, int i) {
        return uint16_t(from[2 * i] | from[2 * i + 1] << 8);
    }
    // Of 8 bits at most; no byte is read that has none of them.
    __device__ __forceinline__ int code(int i, int bits) const {
        const uint8_t* from = codes + i * bits / 8;
        const int skip = i * bits % 8;
        const uint32_t two = from[0] | (skip + bits > 8 ? uint32_t(from[1]) << 8 : 0);
        return int(two >> skip & ((1u << bits) - 1));
    }
    // What kept element i decodes to.
    __device__ __forceinline__ float value(const CocktailLayout& layout, int i) const {
        if (layout.bits == 32) return float_of(load_words<1>(codes + 4 * i, 4).word[0]);
        const Coding coding = coding_of(layout);
        const int group = i / layout.group, first = group * layout.scales();
        const uint16_t second = coding == Coding::magnitude ? half_at(scales, first + 1) : 0;
        const CocktailGrid grid = cocktail_grid(coding, layout.bits, half_at(scales, first), second);
        const int own = code(i, layout.bits);
        if (coding == Coding::sign) return decode_value<Coding::sign>(grid, own);
        if (coding == Coding::symmetric) return decode_value<Coding::symmetric>(grid, own);
        return decode_value<Coding::magnitude>(grid, own);
    }
};

// Lists where the values of a payload's block belong: so many of them. By the whole thread block.
__device__ __forceinline__ int read_places(BlockShared& shared, const CocktailLayout& layout, const BlockReader& from) {
    const int thread = threadIdx.x;
    if (thread < layout.block / 32)
        shared.masks[thread] = layout.mask_bytes() ? load_words<1>(from.mask + 4 * thread, 4).word[0] : ~0u;
    __syncthreads(); // spare: a thread lists its own mask before the next
    return list_places(shared, layout);
}
} // namespace gpu
