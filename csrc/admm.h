// The arithmetic of one entry in a step of the ADMM search, the same bits on every back-end: each operation is rounded
// on its own.
#pragma once
#include "rounded.h"

// The matrices of a step, and what the next penalty makes of them.
template <class Scalar> struct AdmmStep {
    Scalar *x, *dual;
    uint8_t* kept; // 0 or 1
    const Scalar* target;
    Scalar shrink, penalty; // this penalty by the next one; the next one

    static AdmmStep of(void* x, void* dual, void* kept, const void* target, double penalty, double next_penalty) {
        return {static_cast<Scalar*>(x),        static_cast<Scalar*>(dual),
                static_cast<uint8_t*>(kept),    static_cast<const Scalar*>(target),
                Scalar(penalty / next_penalty), Scalar(next_penalty)};
    }
};

// What is left of the value v = x + dual after its projection z.
template <class Scalar> HOST_DEVICE Scalar next_dual(Scalar value, Scalar projected, Scalar shrink) {
    return rounded_product(value - projected, shrink);
}

template <class Scalar>
HOST_DEVICE Scalar next_right_side(Scalar target, Scalar projected, Scalar dual, Scalar penalty) {
    return target + rounded_product(penalty, projected - dual);
}
