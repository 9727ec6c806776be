// packed_linear with AVX-512 (VBMI and VBMI2, as of Ice Lake and Zen 4); part of packed_isa.h.
#pragma once
#pragma GCC push_options
#pragma GCC target(                                                                                                    \
    "avx2,fma,bmi,bmi2,f16c,popcnt,avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vbmi2,avx512vpopcntdq")
namespace avx512 {
inline constexpr int LANES = 16;
using Floats = __m512;
using Words = __m512i;

static Floats zeros() { return _mm512_setzero_ps(); }
static Floats all_of(float value) { return _mm512_set1_ps(value); }
static Floats load(const float* from) { return _mm512_loadu_ps(from); }
static Floats multiply_add(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
static Floats negated_product(Floats a, Floats b) { return _mm512_fnmadd_ps(a, b, zeros()); }
static Floats plus(Floats a, Floats b) { return _mm512_add_ps(a, b); }
static float sum(Floats a) { return _mm512_reduce_add_ps(a); }
static Words load_words(const void* from) { return _mm512_loadu_si512(from); }
// In a register: expanding straight from memory is microcode, many times slower.
static Words load_apart(const void* from) {
    Words words = load_words(from);
    asm("" : "+v"(words));
    return words;
}
static Words only(Words a, uint32_t bits) { return _mm512_and_si512(a, _mm512_set1_epi32(static_cast<int>(bits))); }
template <int COUNT> static Words shifted_down(Words a) { return _mm512_srli_epi32(a, COUNT); }
static Floats to_floats(Words a) { return _mm512_cvtepi32_ps(a); }

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

// A zero to expand over: over one that the compiler knows it would zero by the mask, which takes Zen 5 twice as long.
static Words opaque_zero() {
    Words zero = _mm512_setzero_si512();
    asm("" : "+v"(zero));
    return zero;
}

// Lane i of the result is lane i / each of a.
static Floats repeated(Floats a, int each) {
    const Words lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return _mm512_permutexvar_ps(_mm512_srlv_epi32(lanes, _mm512_set1_epi32(std::countr_zero(unsigned(each)))), a);
}

using avx2::mark_2_of_4;

// Byte 8 i + k is k * step + i * stride + first.
constexpr std::array<uint8_t, 64> eights(int step, int stride, int first = 0) {
    std::array<uint8_t, 64> bytes{};
    for (int i = 0; i < 64; ++i) bytes[i] = static_cast<uint8_t>(i % 8 * step + i / 8 * stride + first);
    return bytes;
}

// The codes of 64 columns, a byte each; a column without one takes its byte of `fill`. With DIRTY there may be anything
// above a code's bits.
template <int BITS, bool DIRTY = false>
static Words expand_64(const uint8_t* entries, int64_t bit, uint64_t mask, Words fill) {
    Words codes = load_apart(entries + (bit >> 3));
    if constexpr (BITS < 8) {
        // the BITS bytes of eight codes and the one after them go to a word of 64 bits, out of which eight are cut
        static constexpr auto bytes = eights(1, BITS);
        alignas(64) static constexpr auto places = [] {
            std::array<std::array<uint8_t, 64>, 8> of{};
            for (int first = 0; first < 8; ++first) of[first] = eights(BITS, 0, first);
            return of;
        }();
        const Words eight = _mm512_permutexvar_epi8(load_words(bytes.data()), codes);
        codes = _mm512_multishift_epi64_epi8(load_words(places[bit & 7].data()), eight);
        if constexpr (!DIRTY) codes = only(codes, ((1u << BITS) - 1) * 0x01010101u);
    }
    return _mm512_mask_expand_epi8(fill, mask, codes);
}

template <int BITS> static void expand_codes(const Row& row, int64_t cols, uint8_t* to) {
    int64_t bit = row.bit;
    for (int64_t col = 0; col < cols; col += 64) {
        const uint64_t mask = mask_of_64(row, col, cols);
        _mm512_storeu_si512(to + col,
                            expand_64<BITS>(row.entries, bit, mask, load_words(row.fill + col * row.fill_step)));
        bit += BITS * _mm_popcnt_u64(mask);
    }
}

constexpr int expanded_field(int) { return 8; }

template <int BITS, bool DIRTY = false> class Expander {
  public:
    Expander(const PackedWeight& weight, const Row& row, std::vector<uint8_t>&)
        : mask(row.mask), fill(row.fill), entries(row.entries), fill_step(64 * row.fill_step), left(weight.cols),
          bit(row.bit) {}

    // The next 64 columns.
    [[gnu::always_inline]] Words block(int64_t) {
        uint64_t own = ~0ull;
        if (mask) {
            if (left < 64) [[unlikely]]
                own = last_bits(mask, left);
            else
                memcpy(&own, mask, 8);
            mask += 8;
        }
        const Words codes = expand_64<BITS, DIRTY>(entries, bit, own, load_words(fill));
        bit += BITS * _mm_popcnt_u64(own);
        fill += fill_step;
        left -= 64;
        return codes;
    }

  private:
    const uint8_t *mask, *fill, *entries;
    int64_t fill_step, left, bit;
};

// Of bfloat16 two columns share a word: 16 even columns, then 16 odd ones.
static void lay_out_for_values(const PackedWeight& weight, const float* x, float* to) {
    if (weight.values != Number::bfloat16)
        memcpy(to, x, weight.cols * sizeof *to);
    else
        for (int64_t i = 0; i < weight.cols; ++i) to[i / 32 * 32 + i % 2 * 16 + i % 32 / 2] = x[i];
}

struct TwoFloats {
    Floats part[2];
};

// The values of 32 columns in the order of lay_out_for_values; moves `kept` on.
template <Number NUMBER> static TwoFloats expand_32(const uint8_t*& kept, uint32_t mask, Words zero) {
    TwoFloats values;
    if constexpr (NUMBER == Number::float32) {
        for (int half = 0; half < 2; ++half) {
            const auto bits = static_cast<uint16_t>(mask >> 16 * half);
            values.part[half] = _mm512_castsi512_ps(_mm512_mask_expand_epi32(zero, bits, load_apart(kept)));
            kept += 4 * _mm_popcnt_u32(bits);
        }
        return values;
    }
    const Words halves = _mm512_mask_expand_epi16(zero, mask, load_apart(kept));
    kept += 2 * _mm_popcnt_u32(mask);
    if constexpr (NUMBER == Number::bfloat16)
        return {{_mm512_castsi512_ps(_mm512_slli_epi32(halves, 16)), _mm512_castsi512_ps(only(halves, 0xffff0000))}};
    return {{_mm512_cvtph_ps(_mm512_castsi512_si256(halves)), _mm512_cvtph_ps(_mm512_extracti64x4_epi64(halves, 1))}};
}

template <Number NUMBER, int TOKENS>
static void dot_values(const Row& row, int64_t cols, const float* x, int64_t stride, float* out) {
    Floats totals[TOKENS][2] = {};
    const Words zero = opaque_zero();
    const uint8_t* kept = row.entries;
    for (int64_t col = 0; col < cols; col += 64) {
        const uint64_t mask = mask_of_64(row, col, cols);
#pragma GCC unroll 2
        for (int i = 0; i < 2; ++i) {
            const auto values = expand_32<NUMBER>(kept, static_cast<uint32_t>(mask >> 32 * i), zero);
            for (int t = 0; t < TOKENS; ++t)
                for (int half = 0; half < 2; ++half) {
                    const Floats own = load(x + t * stride + col + 32 * i + 16 * half);
                    totals[t][half] = multiply_add(values.part[half], own, totals[t][half]);
                }
        }
    }
    for (int t = 0; t < TOKENS; ++t) out[t] = sum(totals[t][0]) + sum(totals[t][1]);
}
} // namespace avx512
#pragma GCC pop_options
