// A total order on floats as unsigned integers: a < b as numbers iff order_key(a) < order_key(b); -0 equals +0, and
// every NaN is the largest key. Shared by the CPU and the CUDA selection.
// Of the signed integers that vectors compare, signed_key is in the same order, and magnitude_key, never negative, in
// that of the magnitudes.
#pragma once
#include <cmath>
#include <cstring>

#include "common.h"

HOST_DEVICE uint32_t order_key(float value) {
    value += 0.0f; // -0 becomes +0
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint32_t key = bits ^ (static_cast<uint32_t>(-static_cast<int32_t>(bits >> 31)) | 0x80000000u);
    return value != value ? 0xffffffffu : key;
}

HOST_DEVICE uint64_t order_key(double value) {
    value += 0.0;
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint64_t key = bits ^ (static_cast<uint64_t>(-static_cast<int64_t>(bits >> 63)) | 1ull << 63);
    return value != value ? ~0ull : key;
}

HOST_DEVICE int32_t signed_key(float value) { return static_cast<int32_t>(order_key(value) ^ 0x80000000u); }
HOST_DEVICE int64_t signed_key(double value) { return static_cast<int64_t>(order_key(value) ^ 1ull << 63); }

template <class Scalar> struct OrderKey;
template <> struct OrderKey<float> {
    using type = uint32_t;
};
template <> struct OrderKey<double> {
    using type = uint64_t;
};

// What a selection compares: scores, or their magnitudes.
template <class Scalar> struct Scores {
    const Scalar* first;
    bool by_magnitude;

    HOST_DEVICE Scalar operator[](int64_t i) const { return by_magnitude ? std::fabs(first[i]) : first[i]; }
    HOST_DEVICE Scores from(int64_t place) const { return {first + place, by_magnitude}; }
};

HOST_DEVICE int32_t magnitude_key(float value) {
    int32_t bits;
    memcpy(&bits, &value, sizeof bits);
    bits &= 0x7fffffff;
    return bits > 0x7f800000 ? 0x7f800001 : bits;
}

HOST_DEVICE int64_t magnitude_key(double value) {
    int64_t bits;
    memcpy(&bits, &value, sizeof bits);
    bits &= 0x7fffffffffffffff;
    return bits > 0x7ff0000000000000 ? 0x7ff0000000000001 : bits;
}
