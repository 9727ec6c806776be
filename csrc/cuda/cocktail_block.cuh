// A block of CocktailSGD in shared memory: numbers of any dtype in and out, the largest of them, where they lie, and
// what a payload's block decodes to. One thread block to each. Free of torch.
#pragma once
#include "cocktail.h"
#include "pack.cuh"
#include "select.cuh"

namespace gpu {
constexpr int COCKTAIL_THREADS = SELECT_THREADS; // the search for the largest counts on it
constexpr int COCKTAIL_WARPS = COCKTAIL_THREADS / 32;
constexpr int EIGHT = 8; // of the halves 16 bytes
constexpr int MOST_WORDS = COCKTAIL_LARGEST_BLOCK / 32;
static_assert(MOST_WORDS <= COCKTAIL_THREADS && BINS * sizeof(uint32_t) >= COCKTAIL_LARGEST_BLOCK);

// A tensor's numbers; data is null where there are none.
struct Numbers {
    void* data;
    Number number;
    int64_t numel;

    __device__ __forceinline__ float at(int64_t i) const { return number_at(data, number, i); }
    __device__ __forceinline__ void put(int64_t i, float value) const { put_number(data, number, i, value); }
    // Whether 16 bytes at a time may move from here on. `first` is a multiple of eight.
    __device__ __forceinline__ bool wide(int64_t first) const {
        return first + EIGHT <= numel && reinterpret_cast<uintptr_t>(data) % 16 == 0;
    }
};

struct alignas(16) Eight {
    float at[EIGHT];
};

// Those after the last are 0.
__device__ __forceinline__ Eight load_eight(const Numbers& from, int64_t first) {
    Eight eight;
    if (!from.wide(first)) {
#pragma unroll
        for (int i = 0; i < EIGHT; ++i) eight.at[i] = first + i < from.numel ? from.at(first + i) : 0.0f;
    } else if (from.number == Number::float32) {
        using Wide = Vector<float, 4>;
        const auto* place = static_cast<const float*>(from.data) + first;
        const Wide low = load_wide<Wide>(place), high = load_wide<Wide>(place + 4);
#pragma unroll
        for (int i = 0; i < EIGHT; ++i) eight.at[i] = i < 4 ? low.part[i] : high.part[i - 4];
    } else {
        const auto wide = load_wide<Vector<uint16_t, EIGHT>>(static_cast<const uint16_t*>(from.data) + first);
#pragma unroll
        for (int i = 0; i < EIGHT; ++i)
            eight.at[i] = from.number == Number::bfloat16 ? from_bfloat16(wide.part[i]) : from_float16(wide.part[i]);
    }
    return eight;
}

__device__ __forceinline__ void store_eight(const Numbers& to, int64_t first, const Eight& eight) {
    if (!to.wide(first)) {
#pragma unroll
        for (int i = 0; i < EIGHT; ++i)
            if (first + i < to.numel) to.put(first + i, eight.at[i]);
    } else if (to.number == Number::float32) {
        auto* place = static_cast<float*>(to.data) + first;
        store_wide(place, Vector<float, 4>{{eight.at[0], eight.at[1], eight.at[2], eight.at[3]}});
        store_wide(place + 4, Vector<float, 4>{{eight.at[4], eight.at[5], eight.at[6], eight.at[7]}});
    } else {
        Vector<uint16_t, EIGHT> wide;
#pragma unroll
        for (int i = 0; i < EIGHT; ++i)
            wide.part[i] = to.number == Number::bfloat16 ? to_bfloat16(eight.at[i]) : to_float16(eight.at[i]);
        store_wide(static_cast<uint16_t*>(to.data) + first, wide);
    }
}

// After it lie the block's numbers as floats, then where the kept ones are, 16 bits each.
struct alignas(16) BlockShared {
    Search<float> search;
    int64_t block; // which one
    uint64_t sums[COCKTAIL_WARPS];
    uint32_t warp_sums[COCKTAIL_WARPS];
    uint32_t kept;                                  // the bits of the mask
    uint32_t masks[MOST_WORDS], before[MOST_WORDS]; // of 32 elements each
    uint32_t histogram[BINS];                       // and, later, the codes, a byte each

    static size_t bytes(int block) { return sizeof(BlockShared) + block * (sizeof(float) + sizeof(uint16_t)); }
    __device__ __forceinline__ float* values() { return reinterpret_cast<float*>(this + 1); }
    __device__ __forceinline__ uint16_t* places(int block) { return reinterpret_cast<uint16_t*>(values() + block); }
    __device__ __forceinline__ uint8_t* codes() { return reinterpret_cast<uint8_t*>(histogram); }
};

// By the whole thread block; one thread divides for all.
__device__ __forceinline__ int64_t block_of_stratum(BlockShared& shared, const CocktailLayout& layout) {
    if (threadIdx.x == 0) shared.block = sampled_block(layout, blockIdx.x);
    __syncthreads();
    return shared.block;
}

// The largest magnitudes come first, of equal ones the first element: no two places are equal.
__device__ __forceinline__ uint64_t place_of_magnitude(float value, int index, int index_bits) {
    return uint64_t(0x7fffffff - magnitude_bits(value)) << index_bits | uint32_t(index);
}

// Marks the largest of shared.values() in shared.masks.
__device__ __forceinline__ void mark_largest(BlockShared& shared, const CocktailLayout& layout) {
    const int thread = threadIdx.x, block = layout.block, index_bits = bits_to_index(block);
    const float* values = shared.values();
    if (thread == 0) shared.search = {0, uint32_t(layout.kept), 31 + index_bits};
    __syncthreads();
    while (shared.search.open > 0) {
        const Search<float> search = shared.search;
        for (int b = thread; b < BINS; b += COCKTAIL_THREADS) shared.histogram[b] = 0;
        __syncthreads();
        for (int i = thread; i < block; i += COCKTAIL_THREADS) {
            const uint64_t place = place_of_magnitude(values[i], i, index_bits);
            if (search.admits(place)) atomicAdd(&shared.histogram[search.digit(place)], 1u);
        }
        __syncthreads();
        settle_digit(shared.search, shared.warp_sums, shared.histogram);
    }
    const uint64_t bound = shared.search.bound;
    for (int first = thread / 32 * 32; first < block; first += COCKTAIL_THREADS) { // a warp, a word
        const int i = first + thread % 32;
        const uint32_t word = __ballot_sync(ALL_LANES, place_of_magnitude(values[i], i, index_bits) <= bound);
        if (thread % 32 == 0) shared.masks[first / 32] = word;
    }
    __syncthreads();
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
