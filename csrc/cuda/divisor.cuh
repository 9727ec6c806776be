// IEEE division by a number that is known long before what it divides. With its reciprocal at hand a quotient is three
// operations that wait for each other, and no branch that the compiler moves nothing across. Free of torch.
#pragma once
#include <cmath>
#include <cstring>

#include "device.cuh"

namespace gpu {
// number / Divisor::of(value) is number / value.
template <class Scalar> struct Divisor {
    Scalar value;

    static HOST_DEVICE Divisor of(Scalar value) { return {value}; }
};
template <class Scalar> __device__ __forceinline__ Scalar operator/(Scalar number, const Divisor<Scalar>& divisor) {
    return number / divisor.value;
}

// Floats from 2^-60 up to 2^60, in the order of their bits: no step of a quotient of two of them leaves the normal
// ones.
constexpr uint32_t TAMEST = uint32_t(127 - 60) << 23, TAME = uint32_t(120) << 23;

HOST_DEVICE bool is_tame(float number, uint32_t tamest = TAMEST) {
    const float size = fabsf(number);
    uint32_t bits;
    memcpy(&bits, &size, sizeof bits);
    return bits - tamest < TAME;
}

// A correctly rounded reciprocal, one product and two fused operations give the correctly rounded quotient (Markstein
// 1990; Brisebarre, Muller and Raina 2004, "Accelerating correctly rounded floating-point division when the divisor is
// known in advance"). Any other number goes through double, which has the bits to round to the same float, but for a
// quotient below the normal floats that lies half-way between two.
template <> struct Divisor<float> {
    float value, reciprocal;
    uint32_t tamest; // of the numbers that may go the short way; no float reaches it where the divisor is not tame
    double exact;

    static HOST_DEVICE Divisor of(float value) {
        return {value, 1 / value, is_tame(value) ? TAMEST : uint32_t(1) << 31, 1 / double(value)};
    }
};
template <> __device__ __forceinline__ float operator/(float number, const Divisor<float>& divisor) {
    const float near = number * divisor.reciprocal;
    const float rest = fmaf(-divisor.value, near, number);
    float quotient = fmaf(rest, divisor.reciprocal, near);
    if (!is_tame(number, divisor.tamest)) {
        keep_here(number); // or this is computed for every number, and double is slow on some GPUs
        quotient = float(number * divisor.exact);
    }
    return quotient;
}
} // namespace gpu
