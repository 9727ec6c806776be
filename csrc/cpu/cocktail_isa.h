// What the kernels of cocktail payloads do differently on each instruction set: 64 neighbours against a threshold, and
// their move between dense places and those that a mask keeps. Up to 16 floats after the last one may be written by
// compact64 and read by expand64 and add_expanded64, which adds what several keep, one after the other.
#pragma once
#include <bit>

#include "numbers.h"
#include "octets.h"

namespace baseline {
// Bit i: whether the magnitude of value i is above this bound.
inline uint64_t above64(const float* values, int32_t bound) {
    uint64_t word = 0;
#if defined(__x86_64__)
    const __m128i magnitude = _mm_set1_epi32(0x7fffffff), limit = _mm_set1_epi32(bound);
    for (int i = 0; i < 64; i += 4) {
        const __m128i bits = _mm_and_si128(_mm_castps_si128(_mm_loadu_ps(values + i)), magnitude);
        const int four = _mm_movemask_ps(_mm_castsi128_ps(_mm_cmpgt_epi32(bits, limit)));
        word |= static_cast<uint64_t>(four) << i;
    }
#else
    for (int i = 0; i < 64; ++i)
        word |= static_cast<uint64_t>(static_cast<int32_t>(bits_of(values[i]) & 0x7fffffff) > bound) << i;
#endif
    return word;
}

#define BY_EIGHTS                                                                                                      \
    inline float* compact64(float* to, const float* values, uint64_t word) {                                           \
        for (int i = 0; i < 64; i += 8) {                                                                              \
            const auto eight = static_cast<uint8_t>(word >> i);                                                        \
            compact8(reinterpret_cast<uint32_t*>(to), reinterpret_cast<const uint32_t*>(values + i), eight);           \
            to += __builtin_popcount(eight);                                                                           \
        }                                                                                                              \
        return to;                                                                                                     \
    }                                                                                                                  \
    inline const float* expand64(float* to, const float* kept, uint64_t word) {                                        \
        for (int i = 0; i < 64; i += 8) {                                                                              \
            const auto eight = static_cast<uint8_t>(word >> i);                                                        \
            expand8(reinterpret_cast<uint32_t*>(to + i), reinterpret_cast<const uint32_t*>(kept), eight);              \
            kept += __builtin_popcount(eight);                                                                         \
        }                                                                                                              \
        return kept;                                                                                                   \
    }                                                                                                                  \
    inline void add_expanded64(float* to, const float** kept, const uint64_t* words, int count) {                      \
        float one[64];                                                                                                 \
        for (int k = 0; k < count; ++k) {                                                                              \
            kept[k] = expand64(one, kept[k], words[k]);                                                                \
            for (int i = 0; i < 64; ++i) to[i] += one[i];                                                              \
        }                                                                                                              \
    }
BY_EIGHTS
} // namespace baseline

#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("avx2,fma,popcnt,bmi")
namespace avx2 {
inline uint64_t above64(const float* values, int32_t bound) {
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff), limit = _mm256_set1_epi32(bound);
    uint64_t word = 0;
    for (int i = 0; i < 64; i += 8) {
        const __m256i bits = _mm256_and_si256(load32(values + i), magnitude);
        const int eight = _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(bits, limit)));
        word |= static_cast<uint64_t>(static_cast<uint32_t>(eight)) << i;
    }
    return word;
}
BY_EIGHTS
} // namespace avx2
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx2,fma,popcnt,bmi,avx512f,avx512bw,avx512vl,avx512dq")
namespace avx512 {
inline uint64_t above64(const float* values, int32_t bound) {
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff), limit = _mm512_set1_epi32(bound);
    uint64_t word = 0;
    for (int i = 0; i < 64; i += 16) {
        const __m512i bits = _mm512_and_si512(_mm512_loadu_si512(values + i), magnitude);
        word |= static_cast<uint64_t>(_mm512_cmpgt_epi32_mask(bits, limit)) << i;
    }
    return word;
}

// To a register and then stored whole: compressing into memory is microcode on Zen.
inline float* compact64(float* to, const float* values, uint64_t word) {
    for (int i = 0; i < 64; i += 16) {
        const auto mask = static_cast<__mmask16>(word >> i);
        _mm512_storeu_ps(to, _mm512_maskz_compress_ps(mask, _mm512_loadu_ps(values + i)));
        to += __builtin_popcount(mask);
    }
    return to;
}

inline const float* expand64(float* to, const float* kept, uint64_t word) {
    for (int i = 0; i < 64; i += 16) {
        const auto mask = static_cast<__mmask16>(word >> i);
        _mm512_storeu_ps(to + i, _mm512_maskz_expand_ps(mask, _mm512_loadu_ps(kept)));
        kept += __builtin_popcount(mask);
    }
    return kept;
}

inline void add_expanded64(float* to, const float** kept, const uint64_t* words, int count) {
    __m512 sums[4];
    for (int i = 0; i < 4; ++i) sums[i] = _mm512_loadu_ps(to + 16 * i);
    for (int k = 0; k < count; ++k) {
        const float* from = kept[k];
        for (int i = 0; i < 4; ++i) {
            const auto mask = static_cast<__mmask16>(words[k] >> 16 * i);
            sums[i] = _mm512_add_ps(sums[i], _mm512_maskz_expand_ps(mask, _mm512_loadu_ps(from)));
            from += __builtin_popcount(mask);
        }
        kept[k] = from;
    }
    for (int i = 0; i < 4; ++i) _mm512_storeu_ps(to + 16 * i, sums[i]);
}
} // namespace avx512
#pragma GCC pop_options
#endif
#undef BY_EIGHTS
