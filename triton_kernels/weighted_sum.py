"""The weighted sum of many tensors in Triton; the arithmetic is that of csrc/weighted_sum.h."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .admm import EXACT
from .cocktail_arithmetic import narrowed, widened

BLOCK = 1024


@triton.jit
def at_precision(total, DTYPE: tl.constexpr):
    """float64 rounded to the bits of a half float, as float32: by way of the nearest float32 it would be twice."""
    BFLOAT: tl.constexpr = tl.bfloat16 == DTYPE
    LEAST: tl.constexpr = (1023 - (126 if BFLOAT else 14)) << 52  # the exponents in place, of float64
    MOST: tl.constexpr = (1023 + 128) << 52
    UNIT: tl.constexpr = ((45 if BFLOAT else 42) << 52) + (1 << 51)  # times 1.5 * 2^(53 - bits)
    bits = total.to(tl.int64, bitcast=True)
    power = tl.minimum(tl.maximum(bits & (0x7FF << 52), LEAST), MOST)
    large = (power + UNIT).to(tl.float64, bitcast=True)
    rounded = ((total + large) - large).to(tl.int64, bitcast=True)
    negative = (bits >> 63) << 63  # -0 stays -0
    return (rounded | negative).to(tl.float64, bitcast=True).to(tl.float32)


@triton.jit
def product(number, weight):
    if number.dtype == tl.float64:
        return number * weight
    else:
        return widened(number).to(weight.dtype) * weight


@triton.jit
def weighted_sum_kernel(out_ptr, sources_ptr, weights_ptr, not_finite_ptr, rows, count, BLOCK: tl.constexpr):
    """To be launched without fused multiply-adds."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = i < count
    from_ptr = sources_ptr + i
    total = product(tl.load(from_ptr, mask=inside, other=0), tl.load(weights_ptr))
    for row in range(1, rows):
        from_ptr += count
        total += product(tl.load(from_ptr, mask=inside, other=0), tl.load(weights_ptr + row))
    DTYPE: tl.constexpr = out_ptr.dtype.element_ty
    if tl.float32 == DTYPE or tl.float64 == DTYPE:
        rounded = total.to(DTYPE)
        size = tl.abs(rounded)
    else:
        if total.dtype == tl.float64:
            total = at_precision(total, DTYPE)
        rounded = narrowed(total, DTYPE)
        size = tl.abs(widened(rounded))
    tl.store(out_ptr + i, rounded, mask=inside)
    finite = size < float("inf")  # NaN is not
    tl.atomic_add(not_finite_ptr, tl.sum((inside & (finite == 0)).to(tl.int64), 0))


def weighted_sum_(out: Tensor, sources: Tensor, weights: Tensor) -> Tensor:
    """See fmcompress.ops.weighted_sum_."""
    not_finite = out.new_zeros((), dtype=torch.int64)
    rows, count = sources.shape
    if count:
        with torch.cuda.device_of(out):
            grid = (triton.cdiv(count, BLOCK),)
            weighted_sum_kernel[grid](out, sources, weights, not_finite, rows, count, BLOCK=BLOCK, **EXACT)
    return not_finite
