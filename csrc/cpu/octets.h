// Eight values and one byte of a bitmask: those whose bit is set move together (compact8) or apart (expand8). Both
// write all eight places, compact8 whatever in those after the last kept, and expand8 reads eight values.
// bits_of8 and bits_of32 are the lowest bits of as many bytes.
#pragma once
#include <cstring>

#include "common.h"

inline uint8_t bits_of8(const uint8_t* bytes, int64_t count = 8) {
    uint64_t word = 0;
    memcpy(&word, bytes, count);
    return static_cast<uint8_t>((word & 0x0101010101010101) * 0x0102040810204080 >> 56); // byte k moves to bit k
}

namespace baseline {
inline uint32_t bits_of32(const uint8_t* bytes) {
    return bits_of8(bytes) | bits_of8(bytes + 8) << 8 | bits_of8(bytes + 16) << 16 |
           static_cast<uint32_t>(bits_of8(bytes + 24)) << 24;
}

template <class Value> void compact8(Value* to, const Value* values, uint8_t bits) {
    Value buffer[8];
    int kept = 0;
    for (int i = 0; i < 8; ++i) {
        buffer[kept] = values[i];
        kept += bits >> i & 1;
    }
    memcpy(to, buffer, sizeof buffer);
}

template <class Value> void expand8(Value* to, const Value* kept, uint8_t bits) {
    for (int i = 0; i < 8; ++i) {
        const int set = bits >> i & 1;
        to[i] = *kept & static_cast<Value>(-set); // no branch to mispredict
        kept += set;
    }
}
} // namespace baseline

#if defined(__x86_64__)
#include <immintrin.h>

// For every byte of a bitmask the shuffle that compacts or expands eight values of BYTES bytes; negative means zero.
template <int BYTES> struct alignas(64) Shuffles {
    int8_t compact[256][8 * BYTES] = {}, expand[256][8 * BYTES] = {};

    constexpr Shuffles() {
        for (int bits = 0; bits < 256; ++bits)
            for (int i = 0, kept = 0; i < 8; ++i) {
                const bool set = bits >> i & 1;
                for (int b = 0; b < BYTES; ++b) {
                    if (set) compact[bits][kept * BYTES + b] = static_cast<int8_t>(i * BYTES + b);
                    expand[bits][i * BYTES + b] = static_cast<int8_t>(set ? kept * BYTES + b : -1);
                }
                kept += set;
            }
    }
};
template <int BYTES> static constexpr Shuffles<BYTES> shuffles;

#pragma GCC push_options
#pragma GCC target("avx2,fma")
namespace avx2 {
inline __m128i load8(const void* from) { return _mm_loadl_epi64(static_cast<const __m128i*>(from)); }
inline __m128i load16(const void* from) { return _mm_loadu_si128(static_cast<const __m128i*>(from)); }
inline __m256i load32(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }

inline uint32_t bits_of32(const uint8_t* bytes) {
    return static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_slli_epi16(load32(bytes), 7))); // takes the highest bits
}

inline void compact8(uint8_t* to, const uint8_t* values, uint8_t bits) {
    const __m128i all = _mm_shuffle_epi8(load8(values), load8(shuffles<1>.compact[bits]));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to), all);
}
inline void compact8(uint16_t* to, const uint16_t* values, uint8_t bits) {
    const __m128i all = _mm_shuffle_epi8(load16(values), load16(shuffles<2>.compact[bits]));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), all);
}
inline void compact8(uint32_t* to, const uint32_t* values, uint8_t bits) {
    const __m256i order = _mm256_cvtepi8_epi32(load8(shuffles<1>.compact[bits]));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_permutevar8x32_epi32(load32(values), order));
}

inline void expand8(uint8_t* to, const uint8_t* kept, uint8_t bits) {
    const __m128i all = _mm_shuffle_epi8(load8(kept), load8(shuffles<1>.expand[bits]));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to), all);
}
inline void expand8(uint16_t* to, const uint16_t* kept, uint8_t bits) {
    const __m128i all = _mm_shuffle_epi8(load16(kept), load16(shuffles<2>.expand[bits]));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), all);
}
inline void expand8(uint32_t* to, const uint32_t* kept, uint8_t bits) {
    const __m256i order = _mm256_cvtepi8_epi32(load8(shuffles<1>.expand[bits]));
    const __m256i all = _mm256_permutevar8x32_epi32(load32(kept), order);
    const __m256i zero = _mm256_cmpgt_epi32(_mm256_setzero_si256(), order);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_andnot_si256(zero, all));
}
} // namespace avx2
#pragma GCC pop_options
#endif
