// The level of a grid nearest to a weight, bit for bit that of grid.h but without its division and without a branch: a
// grid is known long before what is rounded to it. Free of torch.
#pragma once
#include <cmath>

#include "device.cuh"
#include "grid.h"

namespace gpu {
template <class Scalar> struct Levels {
    Scalar power, step, reciprocal; // weight / scale is weight * power / step
    Scalar least, most;             // in the units of step

    // A step is brought nearer to 1 where something of a quotient by it could leave the normal numbers; only weights
    // far below half a step are rounded by that. The power of a scale that is 0, infinite or NaN is all of its
    // division.
    static HOST_DEVICE Levels of(Scalar scale, Scalar zero, Scalar top) {
        constexpr Scalar FAR = sizeof(Scalar) == 4 ? Scalar(0x1p64) : Scalar(0x1p512);
        const Scalar size = std::fabs(scale);
        const Scalar power = size < 1 / FAR ? FAR : size > FAR ? 1 / FAR : Scalar(1);
        const Scalar step = size * power, reciprocal = 1 / step;
        if (!(step > 0 && reciprocal > 0)) return {std::copysign(reciprocal, scale), 1, 1, -zero, top - zero};
        return {std::copysign(power, scale), step, reciprocal, -zero * step, (top - zero) * step};
    }

    // A quotient in range is the correctly rounded one, as in divisor.cuh. Weights are clamped before and not after, so
    // that no step overflows: quotients of the bounds round to the levels at the ends. NaN stays NaN.
    __device__ __forceinline__ Scalar nearest(Scalar weight) const {
        const Scalar clamped = smaller_or_nan(larger_or_nan(weight * power, least), most);
        const Scalar near = clamped * reciprocal;
        const Scalar rest = std::fma(-step, near, clamped);
        return round_level<Scalar>(std::fma(rest, reciprocal, near));
    }
};
} // namespace gpu
