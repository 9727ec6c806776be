// The arithmetic of one weight in the column sweep (SparseGPT, Algorithm 1). Value is a scalar on the GPU and a vector
// of rows on the CPU, so both back-ends run these very lines.
#pragma once
#include "common.h"

// How much the layer's error grows if this weight goes: (w / u)^2, with u the column's diagonal of the factor.
template <class Value, class Scalar> HOST_DEVICE Value saliency(const Value& weight, Scalar diagonal) {
    const Value scaled = weight / diagonal;
    return scaled * scaled;
}

// The error that pruning a weight leaves behind, in the units that the later columns absorb. IEEE division: an
// approximate one would drift through the feedback.
template <class Value, class Scalar> HOST_DEVICE Value pruning_error(const Value& weight, Scalar diagonal) {
    return weight / diagonal;
}

// The same where the weight became something else than zero.
template <class Value, class Scalar>
HOST_DEVICE Value settling_error(const Value& weight, const Value& settled, Scalar diagonal) {
    return (weight - settled) / diagonal;
}

// A later weight after it has absorbed its share of the error.
template <class Value, class Scalar>
HOST_DEVICE Value compensated(const Value& weight, const Value& error, Scalar coefficient) {
    return weight - error * coefficient;
}

// Whether score a at place i goes before score b at place j: smaller first, then the lower place, NaN last. The order
// of order.h without the keys, for groups of a few scores.
template <class Value> HOST_DEVICE auto precedes(const Value& a, int i, const Value& b, int j) {
    return i < j ? (a <= b) | ((b != b)) : (a < b) | ((b != b) & (a == a));
}
