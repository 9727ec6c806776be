// Halves to floats, floats to halves and doubles to halves, a stretch at a time, on each instruction set: what the
// compiler makes no good vectors of.
#pragma once
#include "weighted_sum.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

static constexpr int STRETCH = 512; // numbers of every row at a time

namespace baseline {
static void widen(const Float16* from, float* to) {
    for (int i = 0; i < STRETCH; ++i) to[i] = value_of(from[i]);
}

static void narrow(const float* from, Float16* to) {
    for (int i = 0; i < STRETCH; ++i) to[i] = {to_float16(from[i])};
}

template <class To> static void round_to_half(const double* sums, float* to) {
    for (int i = 0; i < STRETCH; ++i) to[i] = at_precision<To>(sums[i]);
}
} // namespace baseline

#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
namespace avx2 {
static void widen(const Float16* from, float* to) {
    for (int i = 0; i < STRETCH; i += 8)
        _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i))));
}

static void narrow(const float* from, Float16* to) {
    for (int i = 0; i < STRETCH; i += 8) {
        const __m128i halves = _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i), halves);
    }
}

// at_precision
template <class To> static void round_to_half(const double* sums, float* to) {
    const __m256d sign = _mm256_set1_pd(-0.0), exponent = _mm256_castsi256_pd(_mm256_set1_epi64x(0x7ffll << 52));
    const __m256d least = _mm256_set1_pd(Precision<To>::least), most = _mm256_set1_pd(0x1p128);
    const __m256d unit = _mm256_set1_pd(Precision<To>::unit);
    for (int i = 0; i < STRETCH; i += 4) {
        const __m256d sum = _mm256_loadu_pd(sums + i);
        const __m256d power = _mm256_min_pd(_mm256_max_pd(_mm256_and_pd(sum, exponent), least), most);
        const __m256d large = _mm256_mul_pd(power, unit), rounded = _mm256_sub_pd(_mm256_add_pd(sum, large), large);
        _mm_storeu_ps(to + i, _mm256_cvtpd_ps(_mm256_or_pd(rounded, _mm256_and_pd(sum, sign))));
    }
}
} // namespace avx2
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq")
namespace avx512 {
using avx2::narrow;
using avx2::widen;

template <class To> static void round_to_half(const double* sums, float* to) {
    const __m512d sign = _mm512_set1_pd(-0.0), exponent = _mm512_castsi512_pd(_mm512_set1_epi64(0x7ffll << 52));
    const __m512d least = _mm512_set1_pd(Precision<To>::least), most = _mm512_set1_pd(0x1p128);
    const __m512d unit = _mm512_set1_pd(Precision<To>::unit);
    for (int i = 0; i < STRETCH; i += 8) {
        const __m512d sum = _mm512_loadu_pd(sums + i);
        const __m512d power = _mm512_min_pd(_mm512_max_pd(_mm512_and_pd(sum, exponent), least), most);
        const __m512d large = _mm512_mul_pd(power, unit), rounded = _mm512_sub_pd(_mm512_add_pd(sum, large), large);
        _mm256_storeu_ps(to + i, _mm512_cvtpd_ps(_mm512_or_pd(rounded, _mm512_and_pd(sum, sign))));
    }
}
} // namespace avx512
#pragma GCC pop_options
#endif
