// From the kept elements of a block in shared memory to its bytes in a payload. Free of torch.
#pragma once
#include "cocktail_block.cuh"

namespace gpu {
// Where a block's bytes go. What is written returns its part of the checksum, which is a sum: halves add up, too.
struct BlockWriter {
    uint32_t* words;
    uint64_t first; // the number of its first word in the payload

    __device__ __forceinline__ BlockWriter(const CocktailLayout& layout, uint32_t* payload, int64_t stratum)
        : words(payload + COCKTAIL_HEADER_WORDS + stratum * (layout.block_bytes() / 4)),
          first(uint64_t(COCKTAIL_HEADER_WORDS + stratum * (layout.block_bytes() / 4))) {}

    __device__ __forceinline__ uint64_t put(int i, uint32_t word) const {
        words[i] = word;
        return word * checksum_weight(first + i);
    }
    __device__ __forceinline__ uint64_t put_half(int i, uint16_t half) const {
        reinterpret_cast<uint16_t*>(words)[i] = half;
        return (uint64_t(half) << i % 2 * 16) * checksum_weight(first + i / 2);
    }
};

template <class Value, class Join> __device__ __forceinline__ Value over_warp(Value value, const Join& join) {
    for (int flip = 16; flip > 0; flip /= 2) value = join(value, __shfl_xor_sync(ALL_LANES, value, flip));
    return value;
}

// The kept elements that share a scale: the work of a warp or, where a block has few groups, of all its warps.
struct Group {
    const float* values;
    const uint16_t* places;
    int begin, end, rank, threads; // `rank` among the threads
    uint64_t* warp_values;

    __device__ __forceinline__ float at(int i) const { return values[places[i]]; }

    template <class Body> __device__ __forceinline__ void each(const Body& body) const {
        for (int i = begin + rank; i < end; i += threads) body(i);
    }
    // Over the threads of the group. `join` does not mind the order.
    template <class Join> __device__ __forceinline__ uint64_t joined(uint64_t value, const Join& join) const {
        value = over_warp(value, join);
        if (threads == 32) return value;
        if (threadIdx.x % 32 == 0) warp_values[threadIdx.x / 32] = value;
        __syncthreads();
        value = warp_values[0];
        for (int w = 1; w < COCKTAIL_WARPS; ++w) value = join(value, warp_values[w]);
        __syncthreads();
        return value;
    }
    // The bits of the smallest and of the largest magnitude.
    struct Range {
        uint32_t lowest, highest;
    };
    __device__ __forceinline__ Range range() const {
        uint32_t lowest = 0x7fffffff, highest = 0;
        each([&](int i) {
            const uint32_t bits = magnitude_bits(at(i));
            lowest = bits < lowest ? bits : lowest;
            highest = bits > highest ? bits : highest;
        });
        const uint64_t both = joined(uint64_t(~lowest) << 32 | highest, [](uint64_t a, uint64_t b) {
            const uint32_t upper = a >> 32 > b >> 32 ? a >> 32 : b >> 32, lower = uint32_t(a) > uint32_t(b) ? a : b;
            return uint64_t(upper) << 32 | lower;
        });
        return {~uint32_t(both >> 32), uint32_t(both)};
    }
    __device__ __forceinline__ uint16_t mean(uint32_t highest) const {
        uint32_t units = 0;
        const float factor = mean_factor(highest);
        each([&](int i) { units += mean_units(float_of(magnitude_bits(at(i))), factor); });
        const uint64_t all = joined(units, [](uint64_t a, uint64_t b) { return a + b; });
        return scale_of_units(uint32_t(all), end - begin, highest);
    }
};

// Codes into shared.codes(), scales into the payload; take(place, what is sent) for every kept element. Returns the
// scales' part of the checksum.
template <Coding CODING, class Take>
__device__ __forceinline__ uint64_t encode_groups(BlockShared& shared, const CocktailLayout& layout,
                                                  const BlockWriter& to, const Take& take) {
    const int groups = layout.groups(), first_half = (layout.mask_bytes() + layout.code_bytes()) / 2;
    const bool together = groups < COCKTAIL_WARPS;
    const int threads = together ? COCKTAIL_THREADS : 32, rank = threadIdx.x % threads;
    const uint16_t* places = shared.places(layout.block);
    uint64_t sum = 0;
    for (int g = together ? 0 : threadIdx.x / 32; g < groups; g += together ? 1 : COCKTAIL_WARPS) {
        const int begin = g * layout.group, left = layout.kept - begin;
        const int end = begin + (left < layout.group ? left : layout.group);
        const Group group{shared.values(), places, begin, end, rank, threads, shared.sums};
        const auto [lowest, highest] = group.range();
        uint16_t scale = CODING == Coding::sign ? group.mean(highest) : scale_above(highest), second = 0;
        if (CODING == Coding::magnitude) {
            second = scale;
            scale = scale_below(lowest, highest);
            if (rank == 0) sum += to.put_half(first_half + 2 * g, scale) + to.put_half(first_half + 2 * g + 1, second);
        } else if (rank == 0) {
            sum += to.put_half(first_half + g, scale);
        }
        const CocktailGrid grid = cocktail_grid(CODING, layout.bits, scale, second);
        group.each([&](int i) {
            const int code = encode_value<CODING>(grid, group.at(i));
            shared.codes()[i] = uint8_t(code);
            take(places[i], decode_value<CODING>(grid, code));
        });
    }
    const int halves = groups * layout.scales();
    if (halves % 2 && threadIdx.x == 0) to.put_half(first_half + halves, 0);
    return sum;
}

// Word `index` of the codes, `bits` bits each.
__device__ __forceinline__ uint32_t packed_word(const uint8_t* codes, int index, int bits, int kept) {
    uint32_t word = 0;
    int i = index * 32 / bits;
    for (int at = i * bits - index * 32; at < 32 && i < kept; at += bits, ++i) { // the first may begin before the word
        const uint32_t code = codes[i];
        word |= at < 0 ? code >> -at : code << at;
    }
    return word;
}

// The bytes of a block whose kept elements are listed; returns the thread's part of the checksum.
template <class Take> __device__ __forceinline__ uint64_t write_block(BlockShared& shared, const CocktailLayout& layout,
                                                                      const BlockWriter& to, const Take& take) {
    const int thread = threadIdx.x, mask_words = layout.mask_bytes() / 4, code_words = layout.code_bytes() / 4;
    const uint16_t* places = shared.places(layout.block);
    uint64_t sum = thread < mask_words ? to.put(thread, shared.masks[thread]) : 0;
    if (layout.bits == 32) {
        for (int i = thread; i < layout.kept; i += COCKTAIL_THREADS) {
            const float value = shared.values()[places[i]];
            sum += to.put(mask_words + i, bits_of(value));
            take(places[i], value);
        }
        return sum;
    }
    const Coding coding = coding_of(layout);
    if (coding == Coding::sign) sum += encode_groups<Coding::sign>(shared, layout, to, take);
    if (coding == Coding::symmetric) sum += encode_groups<Coding::symmetric>(shared, layout, to, take);
    if (coding == Coding::magnitude) sum += encode_groups<Coding::magnitude>(shared, layout, to, take);
    __syncthreads();
    for (int w = thread; w < code_words; w += COCKTAIL_THREADS)
        sum += to.put(mask_words + w, packed_word(shared.codes(), w, layout.bits, layout.kept));
    return sum;
}
} // namespace gpu
