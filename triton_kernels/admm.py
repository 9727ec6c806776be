"""A step of the ADMM search in Triton: the values, the selection of select.py, the projection."""

import struct

import torch
import triton
import triton.language as tl
from torch import Tensor

from .select import smallest

BLOCK = 2048
EXACT = {"enable_fp_fusion": False}  # a product and a sum rounded one by one, as everywhere else


@triton.jit
def step_values_kernel(x_ptr, dual_ptr, numel, BLOCK: tl.constexpr):
    """The value goes to dual, its magnitude to x: the score to select by."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = i < numel
    value = tl.load(x_ptr + i, mask=inside, other=0) + tl.load(dual_ptr + i, mask=inside, other=0)
    tl.store(dual_ptr + i, value, mask=inside)
    tl.store(x_ptr + i, tl.where(value < 0, -value, value), mask=inside)


@triton.jit(do_not_specialize=["shrink", "penalty"])
def step_projection_kernel(
    x_ptr, dual_ptr, kept_ptr, target_ptr, pruned_ptr, changed_ptr, shrink, penalty, numel, BLOCK: tl.constexpr
):  # fmt: skip
    """The rest of a step, from the values in dual; shrink and penalty are the bits of doubles."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = i < numel
    value = tl.load(dual_ptr + i, mask=inside, other=0)
    keep = tl.load(pruned_ptr + i, mask=inside, other=0) == 0
    was = tl.load(kept_ptr + i, mask=inside, other=0) != 0
    projected = tl.where(keep, value, 0.0)
    left = (value - projected) * shrink.to(tl.int64).to(tl.float64, bitcast=True).to(value.dtype)
    product = (projected - left) * penalty.to(tl.int64).to(tl.float64, bitcast=True).to(value.dtype)
    target = tl.load(target_ptr + i, mask=inside, other=0)
    tl.store(kept_ptr + i, keep.to(tl.uint8), mask=inside)
    tl.store(dual_ptr + i, left, mask=inside)
    tl.store(x_ptr + i, target + product, mask=inside)
    tl.atomic_add(changed_ptr, tl.sum(((was != keep) & inside).to(tl.int64), 0))


def _bits(number: float) -> int:
    """A float as a kernel's argument would be a float32."""
    return struct.unpack("<q", struct.pack("<d", number))[0]


def admm_step_(
    x: Tensor,
    dual: Tensor,
    kept: Tensor,
    target: Tensor,
    penalty: float,
    next_penalty: float,
    prune: int,
    keep: int,
    group: int,
    by_row: bool,
) -> Tensor:
    """See fmcompress.ops.admm_step_."""
    changed = x.new_zeros((), dtype=torch.int64)
    numel = x.numel()
    if numel == 0:
        return changed
    grid = (triton.cdiv(numel, BLOCK),)
    length = group or (x.shape[1] if by_row else numel)
    with torch.cuda.device_of(x):
        step_values_kernel[grid](x, dual, numel, BLOCK=BLOCK, **EXACT)
        pruned = smallest(x, length, group - keep if group else prune)
        parts = (x, dual, kept.view(torch.uint8), target, pruned.view(torch.uint8), changed)
        numbers = (_bits(penalty / next_penalty), _bits(next_penalty))
        step_projection_kernel[grid](*parts, *numbers, numel, BLOCK=BLOCK, **EXACT)
    return changed
