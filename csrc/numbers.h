// The half floats as float and back, on the CPU and on CUDA; a compiler makes vectors of loops over these.
#pragma once
#include <cstring>

#include "packed.h"

HOST_DEVICE float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

HOST_DEVICE uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

HOST_DEVICE float from_bfloat16(uint16_t half) { return float_of(static_cast<uint32_t>(half) << 16); }

// To the nearest, half to even; NaN stays NaN.
HOST_DEVICE uint16_t to_bfloat16(float value) {
    const uint32_t bits = bits_of(value);
    const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    const uint32_t nan = (bits & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : 0; // with a branch it would be no vector
    return static_cast<uint16_t>(nan | (nan ? 0 : rounded));
}

// The exponent is shifted by a product, which is exact and takes subnormal halves along; inf and NaN get the rest of
// it.
HOST_DEVICE float from_float16(uint16_t half) {
#ifdef __CUDA_ARCH__ // one instruction
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(half));
    return value;
#else
    const uint32_t magnitude = static_cast<uint32_t>(half & 0x7fff) << 13;
    const float shifted = float_of(magnitude) * 0x1p112f;
    const uint32_t bits = bits_of(shifted) | (magnitude >= 0x7c00u << 13 ? 0x7f800000u : 0);
    return float_of(bits | static_cast<uint32_t>(half & 0x8000) << 16);
#endif
}

HOST_DEVICE uint16_t to_float16(float value) {
#ifdef __CUDA_ARCH__
    uint16_t half;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half) : "f"(value));
    return half;
#else
    const uint32_t bits = bits_of(value), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) return static_cast<uint16_t>(sign | 0x7e00);
    if (magnitude >= 0x477ff000) return static_cast<uint16_t>(sign | 0x7c00); // rounds to 65536 or is larger
    if (magnitude < 0x38800000)                                               // subnormal: units of 2^-24
        return static_cast<uint16_t>(sign | (bits_of(float_of(magnitude) + 0.5f) - 0x3f000000));
    return static_cast<uint16_t>(sign | ((magnitude + 0xfff + (magnitude >> 13 & 1) - 0x38000000) >> 13));
#endif
}

HOST_DEVICE float number_at(const void* from, Number number, int64_t i) {
    if (number == Number::float32) return static_cast<const float*>(from)[i];
    const uint16_t half = static_cast<const uint16_t*>(from)[i];
    return number == Number::bfloat16 ? from_bfloat16(half) : from_float16(half);
}

HOST_DEVICE void put_number(void* to, Number number, int64_t i, float value) {
    if (number == Number::float32)
        static_cast<float*>(to)[i] = value;
    else
        static_cast<uint16_t*>(to)[i] = number == Number::bfloat16 ? to_bfloat16(value) : to_float16(value);
}

inline void to_floats(const void* from, Number number, int64_t first, int64_t count, float* to) {
    if (number == Number::float32)
        memcpy(to, static_cast<const float*>(from) + first, count * sizeof *to);
    else if (number == Number::bfloat16)
        for (int64_t i = 0; i < count; ++i) to[i] = from_bfloat16(static_cast<const uint16_t*>(from)[first + i]);
    else
        for (int64_t i = 0; i < count; ++i) to[i] = from_float16(static_cast<const uint16_t*>(from)[first + i]);
}
