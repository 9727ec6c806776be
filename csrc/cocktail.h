// CocktailSGD's compression as docs/wire-format.md has it, one stratum, group, element or word at a time: the part that
// the CPU and CUDA share. Every operation is rounded on its own: the files that include this are compiled without
// contraction into fused products.
#pragma once
#include "numbers.h"
#include "rounded.h"

inline constexpr int COCKTAIL_HEADER_BYTES = 64, COCKTAIL_HEADER_WORDS = 16;
inline constexpr int COCKTAIL_FLAGS_AT = 5; // the byte of a payload that has the flags
inline constexpr uint32_t COCKTAIL_NOT_FINITE = 1;
inline constexpr int COCKTAIL_LARGEST_BLOCK = 8192;
inline constexpr uint32_t LARGEST_BFLOAT16 = 0x7f7f, INFINITY_BITS = 0x7f800000;

#ifdef __CUDA_ARCH__
HOST_DEVICE float rounded_sum(float a, float b) { return __fadd_rn(a, b); }
HOST_DEVICE float rounded_difference(float a, float b) { return __fsub_rn(a, b); }
HOST_DEVICE float rounded_quotient(float a, float b) { return __fdiv_rn(a, b); }
#else
HOST_DEVICE float rounded_sum(float a, float b) { return a + b; }
HOST_DEVICE float rounded_difference(float a, float b) { return a - b; }
HOST_DEVICE float rounded_quotient(float a, float b) { return a / b; }
#endif

// What a header says; the ranges of docs/wire-format.md hold.
struct CocktailLayout {
    int64_t numel, seed, step;
    uint32_t stream;
    int64_t sampled;
    int block, kept, bits, group;
    bool symmetric;

    HOST_DEVICE int64_t blocks() const { return (numel + block - 1) / block; }
    HOST_DEVICE int mask_bytes() const { return kept == block ? 0 : block / 8; }
    HOST_DEVICE int code_bytes() const { return static_cast<int>(packed_bytes(kept, bits)); }
    HOST_DEVICE int scales() const { return bits == 32 ? 0 : symmetric || bits == 1 ? 1 : 2; } // of one group
    HOST_DEVICE int groups() const { return (kept + group - 1) / group; }
    HOST_DEVICE int scale_bytes() const { return (groups() * scales() + 1) / 2 * 4; }
    HOST_DEVICE int block_bytes() const { return mask_bytes() + code_bytes() + scale_bytes(); }
    HOST_DEVICE int64_t payload_bytes() const { return COCKTAIL_HEADER_BYTES + sampled * block_bytes(); }
    // How many elements of a block exist: fewer in the last one.
    HOST_DEVICE int inside(int64_t index) const {
        const int64_t rest = numel - index * block;
        return rest < block ? static_cast<int>(rest) : block;
    }
};

// The first word of Philox4x32-10 (Salmon et al. 2011).
HOST_DEVICE uint32_t philox_word(uint64_t key, uint32_t c0, uint32_t c1, uint64_t c23) {
    uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
    uint32_t c2 = static_cast<uint32_t>(c23), c3 = static_cast<uint32_t>(c23 >> 32);
    for (int round = 0; round < 10; ++round) {
        const uint64_t first = static_cast<uint64_t>(c0) * 0xD2511F53u,
                       second = static_cast<uint64_t>(c2) * 0xCD9E8D57u;
        c0 = static_cast<uint32_t>(second >> 32) ^ c1 ^ k0;
        c1 = static_cast<uint32_t>(second);
        c2 = static_cast<uint32_t>(first >> 32) ^ c3 ^ k1;
        c3 = static_cast<uint32_t>(first);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return c0;
}

// The first block of a stratum; stratum `sampled` begins where the tensor ends.
HOST_DEVICE int64_t stratum_begin(const CocktailLayout& layout, int64_t stratum) {
    return stratum * layout.blocks() / layout.sampled;
}

HOST_DEVICE int64_t stratum_of(const CocktailLayout& layout, int64_t block) {
    return ((block + 1) * layout.sampled - 1) / layout.blocks();
}

HOST_DEVICE int64_t sampled_block(const CocktailLayout& layout, int64_t stratum) {
    const int64_t begin = stratum_begin(layout, stratum), size = stratum_begin(layout, stratum + 1) - begin;
    const uint32_t word = philox_word(static_cast<uint64_t>(layout.seed), static_cast<uint32_t>(stratum), layout.stream,
                                      static_cast<uint64_t>(layout.step / size));
    const int64_t offset = static_cast<int64_t>(static_cast<uint64_t>(word) * static_cast<uint64_t>(size) >> 32);
    return begin + (offset + layout.step % size) % size;
}

// The bits of a magnitude, in the order of the magnitudes; NaN is the largest.
HOST_DEVICE uint32_t magnitude_bits(float value) { return bits_of(value) & 0x7fffffff; }
HOST_DEVICE bool is_finite(float value) { return magnitude_bits(value) < INFINITY_BITS; }
HOST_DEVICE float finite_or_zero(float factor) { return is_finite(factor) ? factor : 0.0f; }

// Codes of 1 bit, symmetric ones, and those of a sign and a magnitude.
enum class Coding { sign, symmetric, magnitude };

HOST_DEVICE Coding coding_of(const CocktailLayout& layout) {
    return layout.bits == 1 ? Coding::sign : layout.symmetric ? Coding::symmetric : Coding::magnitude;
}

// Scales, as the bits of bfloat16, from magnitude_bits of the smallest and largest of a group.

HOST_DEVICE uint16_t scale_above(uint32_t highest) {
    const int32_t up = static_cast<int32_t>(highest + 0xffff) >> 16;
    return static_cast<uint16_t>(up < static_cast<int32_t>(LARGEST_BFLOAT16) ? up : LARGEST_BFLOAT16);
}

// A NaN is the smallest of its group, too.
HOST_DEVICE uint16_t scale_below(uint32_t lowest, uint32_t highest) {
    return static_cast<uint16_t>((highest > INFINITY_BITS ? highest : lowest) >> 16);
}

// The mean of 1 bit: the sum of mean_units over a group, at most 65536 each, is free of the order.
HOST_DEVICE float mean_factor(uint32_t highest) {
    return finite_or_zero(rounded_quotient(65535.0f, float_of(highest)));
}

HOST_DEVICE uint32_t mean_units(float magnitude, float factor) {
    const float units = rounded_sum(rounded_product(magnitude, factor), 0.5f);
    const float counted = units > 0.0f ? units : 0.0f; // NaN counts nothing
    return static_cast<uint32_t>(static_cast<int32_t>(counted));
}

HOST_DEVICE uint16_t scale_of_units(uint32_t units, int count, uint32_t highest) {
    const float share = rounded_quotient(static_cast<float>(units), static_cast<float>(65535u * count));
    const uint16_t nearest = to_bfloat16(rounded_product(share, float_of(highest)));
    return nearest < LARGEST_BFLOAT16 ? nearest : static_cast<uint16_t>(LARGEST_BFLOAT16);
}

// The levels of a group. The scales of payloads from elsewhere may be anything, so every result may be NaN.
struct CocktailGrid {
    float low;    // the lowest magnitude
    float factor; // codes a unit of magnitude
    float step;   // from one level to the next; of 1 bit the magnitude
    int levels;   // the highest code of a magnitude
    int middle;   // the symmetric code of 0, or the bit of the sign
};

// `second` only counts for Coding::magnitude.
HOST_DEVICE CocktailGrid cocktail_grid(Coding coding, int bits, uint16_t first, uint16_t second) {
    const int levels = (1 << (bits - 1)) - 1, middle = 1 << (bits - 1);
    const float scale = from_bfloat16(first);
    if (coding == Coding::sign) return {0.0f, 0.0f, scale, levels, middle};
    const float low = coding == Coding::magnitude ? scale : 0.0f;
    const float width = coding == Coding::magnitude ? rounded_difference(from_bfloat16(second), low) : scale;
    const float all = static_cast<float>(levels);
    return {low, finite_or_zero(rounded_quotient(all, width)), rounded_quotient(width, all), levels, middle};
}

// -0 is not negative, nor is NaN.
template <Coding CODING> HOST_DEVICE int encode_value(const CocktailGrid& grid, float value) {
    const int negative = value < 0.0f;
    if (CODING == Coding::sign) return negative;
    const float above = rounded_difference(float_of(magnitude_bits(value)), grid.low);
    const float level = rounded_sum(rounded_product(above, grid.factor), 0.5f), top = static_cast<float>(grid.levels);
    const float inside = level > 0.0f ? level : 0.0f; // NaN becomes 0
    const int code = static_cast<int>(inside < top ? inside : top);
    if (CODING == Coding::symmetric) return grid.middle + (negative ? -code : code);
    return code + (negative ? grid.middle : 0);
}

template <Coding CODING> HOST_DEVICE float decode_value(const CocktailGrid& grid, int code) {
    if (CODING == Coding::sign) return code == 1 ? -grid.step : grid.step;
    if (CODING == Coding::symmetric) return rounded_product(static_cast<float>(code - grid.middle), grid.step);
    const float level = static_cast<float>(code & (grid.middle - 1));
    const float magnitude = rounded_sum(grid.low, rounded_product(level, grid.step));
    return code >= grid.middle ? -magnitude : magnitude;
}

// Word `index` of the header, its checksum 0.
HOST_DEVICE uint32_t header_word(const CocktailLayout& layout, uint32_t flags, int index) {
    const uint64_t longs[] = {static_cast<uint64_t>(layout.numel), static_cast<uint64_t>(layout.seed),
                              static_cast<uint64_t>(layout.step)};
    const uint32_t quantizer = layout.symmetric ? 0 : 1;
    if (index == 0) return 0x47434d46; // FMCG
    if (index == 1) return 1u | flags << 8 | static_cast<uint32_t>(layout.bits) << 16 | quantizer << 24;
    if (index < 8) return static_cast<uint32_t>(longs[index / 2 - 1] >> index % 2 * 32);
    const uint32_t words[] = {layout.stream, static_cast<uint32_t>(layout.block), static_cast<uint32_t>(layout.sampled),
                              static_cast<uint32_t>(layout.kept), static_cast<uint32_t>(layout.group)};
    return index < 13 ? words[index - 8] : 0;
}

// splitmix64's output index + 1 (Steele et al. 2014). The checksum is the upper half of the sum of words times these.
HOST_DEVICE uint64_t checksum_weight(uint64_t index) {
    uint64_t z = (index + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}
