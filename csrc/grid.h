// The arithmetic of one weight on its grid of 2^bits levels, value = level * scale with level = code - zero. Value is
// a scalar on the GPU and may be a vector of weights on the CPU, so both back-ends run these very lines.
#pragma once
#include "common.h"

// 1.5 * 2^(bits of the mantissa): a sum of this size has no bits below the point, so adding it rounds to nearest, half
// to even, and subtracting it again is exact. Only for numbers far smaller than itself, as clamped levels are.
HOST_DEVICE constexpr float rounder(float) { return 12582912.0f; }
HOST_DEVICE constexpr double rounder(double) { return 6755399441055744.0; }

// An integer for |value| <= 255, never -0; NaN stays NaN.
template <class Scalar, class Value> HOST_DEVICE Value round_level(const Value& value) {
    const Value sum = value + rounder(Scalar());
    return sum - rounder(Scalar());
}

// The level nearest to a weight; least = -zero, most = 2^bits - 1 - zero. IEEE division: a weight between two levels
// must fall as the reference has it. NaN stays NaN, in this order of the operands.
template <class Scalar, class Value>
HOST_DEVICE Value nearest_level(const Value& weight, const Value& scale, const Value& least, const Value& most) {
    const Value exact = weight / scale;
    const Value raised = least > exact ? least : exact;
    const Value clamped = most < raised ? most : raised;
    return round_level<Scalar>(clamped);
}

// The weight that a level stands for; a zero is +0 whatever the sign of the scale.
template <class Scalar, class Value> HOST_DEVICE Value value_of(const Value& level, const Value& scale) {
    return level * scale + Scalar(0);
}

template <class Scalar> struct Grid {
    Scalar scale, zero;
};

// Candidate c of the search for the grid of a segment whose weights lie in low .. high, low <= 0 <= high.
template <class Scalar> HOST_DEVICE Grid<Scalar> candidate_grid(Scalar low, Scalar high, int bits, bool symmetric,
                                                                int candidate, int candidates) {
    const Scalar top = Scalar((1 << bits) - 1);
    const Scalar shrink = Scalar(1 - 0.8 * candidate / candidates);
    if (symmetric) {
        high = high < -low ? -low : high;
        low = -high;
    }
    Scalar scale = (high - low) * shrink / top;
    scale = scale > 0 ? scale : Scalar(1);
    if (symmetric) return {scale, Scalar(1 << (bits - 1))};
    return {scale, nearest_level<Scalar>(-low * shrink, scale, Scalar(0), top)};
}

// What rounding one weight adds to the squared error of its segment; of the product as it is stored, not of the exact
// one that a fused subtraction would see: near overflow they differ by more than rounding.
template <class Scalar, class Value>
HOST_DEVICE Value squared_error(const Value& weight, const Value& scale, const Value& least, const Value& most) {
    const Value level = nearest_level<Scalar>(weight, scale, least, most);
    const Value difference = value_of<Scalar>(level, scale) - weight;
    return difference * difference;
}
