// packed_linear with AVX-512 BF16, for x that is bfloat16 itself: two columns to a product, which are summed in
// float32. Codes of up to four bits become bfloat16 by a table, without rounding. Part of packed_isa.h.
#pragma once
#pragma GCC push_options
#pragma GCC target(                                                                                                    \
    "avx2,fma,bmi,bmi2,f16c,popcnt,avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vbmi2,avx512vpopcntdq,avx512bf16")
namespace avx512bf16 {
using avx2::expand8;
using avx512::all_of;
using avx512::expand_codes;
using avx512::expanded_field;
using avx512::Floats;
using avx512::LANES;
using avx512::load;
using avx512::load_words;
using avx512::mark_2_of_4;
using avx512::multiply_add;
using avx512::negated_product;
using avx512::plus;
using avx512::repeated;
using avx512::sum;
using avx512::Words;
using avx512::zeros;

inline constexpr int WORD_BITS = 16;
inline constexpr float OFFSET = 16;

// Whether the kernels of this namespace serve; those of avx512 serve all.
inline bool serves(const PackedWeight& weight) {
    return weight.bits ? weight.bits < 8 : weight.values == Number::bfloat16;
}

static void put_half(float x, int i, float* block) { reinterpret_cast<uint16_t*>(block)[i] = to_bfloat16(x); }

template <int FIELD> static void lay_out_column(float x, int i, float* block) {
    put_half(x, i % (16 / FIELD) * 2 * LANES + i / (16 / FIELD), block);
}

template <int BITS> using Expander = avx512::Expander<BITS, BITS == 4>;

template <int FIELD> [[gnu::always_inline]] inline Words numbers_of(Words codes, int j) {
    const int up = 3 - FIELD * j; // to the highest of the seven bits of a mantissa are four places, from the third
    const Words placed = up > 0 ? _mm512_slli_epi16(codes, static_cast<unsigned>(up))
                                : _mm512_srli_epi16(codes, static_cast<unsigned>(-up));
    constexpr int code = FIELD == 2 ? 0x0018 : 0x0078, sixteen = 0x4180;
    constexpr int and_then_or = 0xea; // of the first and second, and the third
    return _mm512_ternarylogic_epi32(placed, _mm512_set1_epi16(code), _mm512_set1_epi16(sixteen), and_then_or);
}

[[gnu::always_inline]] inline Floats add_products(Words numbers, const float* x, Floats sum) {
    return _mm512_dpbf16_ps(sum, (__m512bh)numbers, (__m512bh)load_words(x));
}

static void lay_out_for_values(const PackedWeight& weight, const float* x, float* to) {
    for (int64_t i = 0; i < weight.cols; ++i) put_half(x[i], static_cast<int>(i), to);
}

template <Number NUMBER, int TOKENS>
static void dot_values(const Row& row, int64_t cols, const float* x, int64_t stride, float* out) {
    Floats totals[TOKENS][2] = {};
    const Words zero = avx512::opaque_zero();
    const uint8_t* kept = row.entries;
    for (int64_t col = 0; col < cols; col += 64) {
        const uint64_t mask = mask_of_64(row, col, cols);
#pragma GCC unroll 2
        for (int i = 0; i < 2; ++i) {
            const auto own = static_cast<uint32_t>(mask >> 32 * i);
            const Words values = _mm512_mask_expand_epi16(zero, own, avx512::load_apart(kept));
            kept += 2 * _mm_popcnt_u32(own);
            for (int t = 0; t < TOKENS; ++t)
                totals[t][i] = add_products(values, x + t * stride + (col + 32 * i) / 2, totals[t][i]);
        }
    }
    for (int t = 0; t < TOKENS; ++t) out[t] = sum(totals[t][0]) + sum(totals[t][1]);
}
} // namespace avx512bf16
#pragma GCC pop_options
