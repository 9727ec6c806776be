"""IEEE division and root, and rounding to the levels of a grid as in csrc/grid.h."""

import triton
import triton.language as tl


@triton.jit
def divide(a, b):
    """IEEE division: Triton's own of float32 is approximate and would drift through the feedback."""
    if a.dtype == tl.float32:
        a, b = tl.broadcast(a, b)
        return tl.math.div_rn(a, b)
    else:
        return a / b


@triton.jit
def root(a):
    """The IEEE square root: Triton's own of float32 is approximate."""
    if a.dtype == tl.float32:
        return tl.math.sqrt_rn(a)
    else:
        return tl.sqrt(a)


@triton.jit
def rint_clamped(x, least, most):
    """The nearest integer in a range within +-255, half to even, never -0; NaN stays NaN."""
    ROUNDER: tl.constexpr = 1.5 * 2**x.dtype.fp_mantissa_width  # a sum of this size has no bits below the point
    x = tl.where(x < least, least, x)
    x = tl.where(x > most, most, x)
    return (x + ROUNDER) - ROUNDER


@triton.jit
def nearest_level(w, scale, zero, TOP: tl.constexpr):
    """How many steps from zero the level nearest to a weight is; zero as a float, TOP = 2^bits - 1."""
    return rint_clamped(divide(w, scale), -zero, TOP - zero)


@triton.jit
def value_of(level, scale):
    """The weight that a level stands for. The sum makes -0 into +0, and keeps the product, rounded, from other FMAs."""
    return level * scale + 0.0


@triton.jit
def code_of(level, zero):
    return (level + zero).to(tl.int32).to(tl.uint8)
