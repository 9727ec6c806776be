// The arithmetic of one entry of weighted_sum_, the same bits on every back-end: numbers of four types as what they are
// summed in, and a sum as one of them, rounded once.
#pragma once
#include "numbers.h"
#include "rounded.h"

struct Float16 {
    uint16_t bits;
};
struct BFloat16 {
    uint16_t bits;
};

HOST_DEVICE float value_of(Float16 number) { return from_float16(number.bits); }
HOST_DEVICE float value_of(BFloat16 number) { return from_bfloat16(number.bits); }
HOST_DEVICE float value_of(float number) { return number; }
HOST_DEVICE double value_of(double number) { return number; }

HOST_DEVICE double double_of(uint64_t bits) {
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

HOST_DEVICE uint64_t bits_of(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

// What at_precision needs of a half float: a number so much larger than a sum that their sum has its last place, and
// the smallest number that has all its bits.
template <class To> struct Precision;
template <> struct Precision<Float16> {
    static constexpr double unit = 0x1.8p42, least = 0x1p-14; // 1.5 * 2^(53 - bits)
};
template <> struct Precision<BFloat16> {
    static constexpr double unit = 0x1.8p45, least = 0x1p-126;
};

// The nearest number of To, half to even, as a float, or what is infinite in To: by way of the float nearest to the sum
// it would be rounded twice. A sum with a number so much larger has no bits below To's last place.
template <class To> HOST_DEVICE float at_precision(double sum) {
    constexpr uint64_t sign = 1ull << 63, exponent = 0x7ffull << 52;
    const double below = double_of(bits_of(sum) & exponent), least = Precision<To>::least;
    const double raised = below < least ? least : below, power = raised > 0x1p128 ? 0x1p128 : raised;
    const double large = power * Precision<To>::unit;
    const double rounded = (sum + large) - large;
    return static_cast<float>(double_of(bits_of(rounded) | (bits_of(sum) & sign))); // -0 stays -0
}
template <class To> HOST_DEVICE float at_precision(float sum) { return sum; }

// A sum as To.
template <class To> struct Rounded {
    template <class Sum> static HOST_DEVICE To of(Sum sum) { return static_cast<To>(sum); }
};
template <> struct Rounded<Float16> {
    template <class Sum> static HOST_DEVICE Float16 of(Sum sum) { return {to_float16(at_precision<Float16>(sum))}; }
};
template <> struct Rounded<BFloat16> {
    static HOST_DEVICE BFloat16 of(float sum) { return {to_bfloat16(sum)}; }
    static HOST_DEVICE BFloat16 of(double sum) { // nothing is left to round, not even of a NaN
        return {static_cast<uint16_t>(bits_of(at_precision<BFloat16>(sum)) >> 16)};
    }
};

// Whether a number is finite, by its bits.
HOST_DEVICE bool is_finite(Float16 number) { return (number.bits & 0x7fff) < 0x7c00; }
HOST_DEVICE bool is_finite(BFloat16 number) { return (number.bits & 0x7fff) < 0x7f80; }
HOST_DEVICE bool is_finite(float number) { return (bits_of(number) & 0x7fffffff) < 0x7f800000; }
HOST_DEVICE bool is_finite(double number) { return (bits_of(number) & ~0ull >> 1) < 0x7ffull << 52; }
