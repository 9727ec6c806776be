// packed_linear with AVX2 and BMI2; part of packed_isa.h.
#pragma once
#pragma GCC push_options
#pragma GCC target("avx2,fma,bmi,bmi2,f16c,popcnt")
namespace avx2 {
inline constexpr int LANES = 8;
using Floats = __m256;
using Words = __m256i;

static Floats zeros() { return _mm256_setzero_ps(); }
static Floats all_of(float value) { return _mm256_set1_ps(value); }
static Floats load(const float* from) { return _mm256_loadu_ps(from); }
static Floats multiply_add(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
static Floats negated_product(Floats a, Floats b) { return _mm256_fnmadd_ps(a, b, zeros()); }
static Floats plus(Floats a, Floats b) { return _mm256_add_ps(a, b); }
static float sum(Floats a) {
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
static Words load_words(const void* from) { return load32(from); }
static Words only(Words a, uint32_t bits) { return _mm256_and_si256(a, _mm256_set1_epi32(static_cast<int>(bits))); }
template <int COUNT> static Words shifted_down(Words a) { return _mm256_srli_epi32(a, COUNT); }
static Floats to_floats(Words a) { return _mm256_cvtepi32_ps(a); }

// Field j of a word of 32 bits is used where it stands: masked and converted it is code * 2^(FIELD j), a float without
// rounding, and x is laid out divided by that power. Only the last one is shifted down, since words have a sign.
inline constexpr int WORD_BITS = 32;
inline constexpr float OFFSET = 0; // of the numbers that are multiplied, from the codes

template <int FIELD> static void lay_out_column(float x, int i, float* block) {
    const int j = i % (32 / FIELD), power = j + 1 < 32 / FIELD ? FIELD * j : 0;
    block[j * LANES + i / (32 / FIELD)] = x * float_of(static_cast<uint32_t>(127 - power) << 23);
}

template <int FIELD> [[gnu::always_inline]] inline Floats numbers_of(Words codes, int j) {
    const bool last = j + 1 == 32 / FIELD;
    return to_floats(last ? shifted_down<32 - FIELD>(codes)
                          : only(codes, ((1u << FIELD) - 1) << (last ? 0 : FIELD * j)));
}

[[gnu::always_inline]] inline Floats add_products(Floats numbers, const float* x, Floats sum) {
    return multiply_add(numbers, load(x), sum);
}

// Lane i of the result is lane i / each of a.
static Floats repeated(Floats a, int each) {
    const Words lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_permutevar8x32_ps(a, _mm256_srlv_epi32(lanes, _mm256_set1_epi32(std::countr_zero(unsigned(each)))));
}

static void mark_2_of_4(const uint8_t* places, int64_t bytes, uint8_t* mask) {
    const __m256i masks = _mm256_broadcastsi128_si256(load16(baseline::MASKS_2_OF_4.data()));
    const __m256i four = _mm256_set1_epi8(15);
    int64_t i = 0;
    for (; i + 32 <= bytes; i += 32) {
        const __m256i both = load32(places + i);
        const __m256i low = _mm256_shuffle_epi8(masks, _mm256_and_si256(both, four));
        const __m256i high = _mm256_shuffle_epi8(masks, _mm256_and_si256(_mm256_srli_epi16(both, 4), four));
        const __m256i all = _mm256_or_si256(low, _mm256_slli_epi16(high, 4));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(mask + i), all);
    }
    baseline::mark_2_of_4(places + i, bytes - i, mask + i);
}

// The codes of 64 / FIELD columns, each in FIELD bits; a column without one takes its field of `fill`.
template <int BITS, int FIELD>
static uint64_t expand_fields(const uint8_t* entries, int64_t bit, uint64_t mask, uint64_t fill) {
    constexpr uint64_t ones = ~0ull / ((1ull << FIELD) - 1); // the lowest bit of each field
    uint64_t word;
    memcpy(&word, entries + (bit >> 3), 8);
    word >>= (bit & 7);
    if constexpr (BITS == 4 && FIELD == 4) // sixteen codes from within a byte on lie in nine bytes
        if (mask == 0xffff && (bit & 7)) [[unlikely]]
            word |= static_cast<uint64_t>(entries[(bit >> 3) + 8]) << (64 - (bit & 7));
    const uint64_t kept = _pdep_u64(mask, ones);
    const uint64_t all = FIELD == 4 ? (kept << 4) - kept : (kept << 8) - kept;
    const uint64_t codes = BITS == FIELD ? all : kept * ((1u << BITS) - 1);
    return _pdep_u64(word, codes) | (fill & ~all);
}

template <int BITS> static void expand_codes(const Row& row, int64_t cols, uint8_t* to) {
    int64_t bit = row.bit;
    for (int64_t col = 0; col < cols; col += 64) {
        uint64_t mask = mask_of_64(row, col, cols);
        for (int64_t i = col; i < std::min(cols, col + 64); i += 8, mask >>= 8) {
            uint64_t fill;
            memcpy(&fill, row.fill + i * row.fill_step, 8);
            const uint64_t codes = expand_fields<BITS, 8>(row.entries, bit, mask & 0xff, fill);
            memcpy(to + i, &codes, 8);
            bit += BITS * _mm_popcnt_u64(mask & 0xff);
        }
    }
}

// Eight values as floats, each where its bit is set.
template <Number NUMBER> static Floats expand8(const void* kept, uint8_t bits) {
    if constexpr (NUMBER == Number::float32) {
        const __m256i order = _mm256_cvtepi8_epi32(load8(shuffles<1>.expand[bits]));
        const __m256i all = _mm256_permutevar8x32_epi32(load32(kept), order);
        const __m256i none = _mm256_cmpgt_epi32(_mm256_setzero_si256(), order);
        return _mm256_castsi256_ps(_mm256_andnot_si256(none, all));
    } else {
        const __m128i halves = _mm_shuffle_epi8(load16(kept), load16(shuffles<2>.expand[bits]));
        if constexpr (NUMBER == Number::float16) return _mm256_cvtph_ps(halves);
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
    }
}

// Codes that are not read as they stand are first given fields of this width.
constexpr int expanded_field(int bits) { return bits == 8 ? 8 : 4; }

// All columns of a row at once, to the cache: vectors that were stored in parts a moment ago load slowly.
template <int BITS> class Expander {
  public:
    Expander(const PackedWeight& weight, const Row& row, std::vector<uint8_t>& buffer) {
        buffer.resize(weight.cols + SLACK);
        codes = buffer.data();
        if (weight.zero)
            expand<false>(row, weight.cols, buffer.data());
        else
            expand<true>(row, weight.cols, buffer.data());
    }

    Words block(int64_t b) const { return load_words(codes + b * sizeof(Words)); }

  private:
    static constexpr int FIELD = expanded_field(BITS), STEP = 64 / FIELD;

    template <bool SYMMETRIC> static void expand(Row row, int64_t cols, uint8_t* to) {
        constexpr uint64_t middle = ~0ull / ((1 << FIELD) - 1) << (BITS - 1);
        int64_t bit = row.bit;
        for (int64_t col = 0; col < cols; col += 64) {
            uint64_t mask = mask_of_64(row, col, cols);
#pragma GCC unroll 8
            for (int i = 0; i < 64; i += STEP, mask >>= STEP, to += 8) {
                const uint64_t own = mask & ((1ull << STEP) - 1);
                const uint64_t fill = SYMMETRIC ? middle : fill_at(row.fill + col + i);
                const uint64_t all = expand_fields<BITS, FIELD>(row.entries, bit, own, fill);
                memcpy(to, &all, 8);
                bit += BITS * _mm_popcnt_u64(own);
            }
        }
    }

    static uint64_t fill_at(const uint8_t* fill) {
        uint64_t low, high;
        memcpy(&low, fill, 8);
        if constexpr (FIELD == 8) return low;
        memcpy(&high, fill + 8, 8);
        return _pext_u64(low, 0x0f0f0f0f0f0f0f0f) | _pext_u64(high, 0x0f0f0f0f0f0f0f0f) << 32;
    }

    const uint8_t* codes;
};

static void lay_out_for_values(const PackedWeight& weight, const float* x, float* to) {
    memcpy(to, x, weight.cols * sizeof *to);
}

template <Number NUMBER, int TOKENS>
static void dot_values(const Row& row, int64_t cols, const float* x, int64_t stride, float* out) {
    constexpr int apart = TOKENS < 4 ? 2 : 1; // sums that do not wait for each other
    Floats totals[TOKENS][apart] = {};
    const uint8_t* kept = row.entries;
    for (int64_t col = 0; col < cols; col += 64) {
        const uint64_t mask = mask_of_64(row, col, cols);
#pragma GCC unroll 8
        for (int i = 0; i < 8; ++i) {
            const auto bits = static_cast<uint8_t>(mask >> 8 * i);
            const Floats values = expand8<NUMBER>(kept, bits);
            kept += size_of(NUMBER) * _mm_popcnt_u32(bits);
            for (int t = 0; t < TOKENS; ++t) {
                Floats& total = totals[t][i % apart];
                total = multiply_add(values, load(x + t * stride + col + 8 * i), total);
            }
        }
    }
    for (int t = 0; t < TOKENS; ++t) out[t] = sum(totals[t][0]) + (apart == 2 ? sum(totals[t][apart - 1]) : 0.0f);
}
} // namespace avx2
#pragma GCC pop_options
