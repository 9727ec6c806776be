"""search_grid, quantize and dequantize in Triton: a tile of segments a program."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .arithmetic import code_of, divide, nearest_level, rint_clamped, value_of
from .tiles import Tiling, own_tile


@triton.jit
def load_piece(weight_ptr, s, piece, rows, cols, COLS: tl.constexpr):
    """One piece of some segments; past their end 0, which every grid holds without error."""
    i = (tl.full([], 0, tl.int64) + piece) * COLS + tl.arange(0, COLS)
    inside = (s < rows)[:, None] & (i < cols)[None, :]
    return tl.load(weight_ptr + s[:, None] * cols + i[None, :], mask=inside, other=0)


@triton.jit
def candidate_grid(low, high, candidate, candidates, TOP: tl.constexpr, SYMMETRIC: tl.constexpr):
    """The scale and zero of one candidate, in the order of the formula in _ops/quantization.py."""
    shrink = (1 - tl.full([], 0.8, tl.float64) * candidate / candidates).to(low.dtype)
    scale = divide((high - low) * shrink, tl.full(low.shape, TOP, low.dtype))
    scale = tl.where(scale > 0, scale, 1)
    if SYMMETRIC:
        return scale, tl.full(low.shape, (TOP + 1) // 2, low.dtype)
    else:
        return scale, rint_clamped(divide(-low * shrink, scale), 0, TOP)


@triton.jit
def search_kernel(
    weight_ptr, scale_ptr, zero_ptr, candidates, rows, cols, pieces,
    TOP: tl.constexpr, SYMMETRIC: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """All pieces of some segments: first the range, then each candidate's error; the cache still has the weights."""
    s = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    lows = tl.zeros([ROWS, COLS], weight_ptr.dtype.element_ty)
    highs = tl.zeros_like(lows)
    for piece in range(pieces):
        w = load_piece(weight_ptr, s, piece, rows, cols, COLS)
        lows = tl.minimum(lows, w)  # NaN may vanish here: no candidate's error will be a number
        highs = tl.maximum(highs, w)
    low, high = tl.min(lows, axis=1), tl.max(highs, axis=1)
    if SYMMETRIC:
        high = tl.maximum(high, -low)
        low = -high
    least = tl.full([ROWS], float("inf"), low.dtype)
    best_scale = tl.full([ROWS], 1, low.dtype)
    best_zero = tl.zeros_like(low)
    for candidate in range(candidates):
        scale, zero = candidate_grid(low, high, candidate, candidates, TOP, SYMMETRIC)
        squares = tl.zeros_like(lows)
        for piece in range(pieces):
            w = load_piece(weight_ptr, s, piece, rows, cols, COLS)
            off = value_of(nearest_level(w, scale[:, None], zero[:, None], TOP), scale[:, None]) - w
            squares += off * off  # not yet summed: that is quicker, and Triton 3.7 fails on a reduction used twice
        error = tl.sum(squares, axis=1)
        better = (error < least) | ((error <= least) & (candidate == 0))
        least = tl.where(better, error, least)
        best_scale = tl.where(better, scale, best_scale)
        best_zero = tl.where(better, zero, best_zero)
    tl.store(scale_ptr + s, best_scale, mask=s < rows)
    tl.store(zero_ptr + s, code_of(best_zero, 0), mask=s < rows)


@triton.jit
def quantize_kernel(
    weight_ptr, scale_ptr, zero_ptr, codes_ptr, rows, cols, pieces,
    TOP: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    s, _, i = own_tile(pieces, ROWS, COLS)
    place = s[:, None] * cols + i[None, :]
    inside = (s < rows)[:, None] & (i < cols)[None, :]
    w = tl.load(weight_ptr + place, mask=inside, other=0)
    scale = tl.load(scale_ptr + s, mask=s < rows, other=1)[:, None]
    zero = tl.load(zero_ptr + s, mask=s < rows, other=0)[:, None].to(w.dtype)
    tl.store(codes_ptr + place, code_of(nearest_level(w, scale, zero, TOP), zero), mask=inside)


@triton.jit
def dequantize_kernel(
    codes_ptr, scale_ptr, zero_ptr, weight_ptr, rows, cols, pieces, ROWS: tl.constexpr, COLS: tl.constexpr
):
    s, _, i = own_tile(pieces, ROWS, COLS)
    place = s[:, None] * cols + i[None, :]
    inside = (s < rows)[:, None] & (i < cols)[None, :]
    scale = tl.load(scale_ptr + s, mask=s < rows, other=0)[:, None]
    zero = tl.load(zero_ptr + s, mask=s < rows, other=0)[:, None].to(scale.dtype)
    code = tl.load(codes_ptr + place, mask=inside, other=0).to(scale.dtype)
    tl.store(weight_ptr + place, (code - zero) * scale, mask=inside)


def search_grid(weight: Tensor, bits: int, symmetric: bool, candidates: int) -> tuple[Tensor, Tensor]:
    """See fmcompress.ops.search_grid."""
    rows, cols = weight.shape
    scale, zero = weight.new_empty(rows), weight.new_empty(rows, dtype=torch.uint8)
    options = {"TOP": 2**bits - 1, "SYMMETRIC": symmetric}
    Tiling(rows, cols).launch(search_kernel, weight, scale, zero, candidates, whole_rows=True, **options)
    return scale, zero


def quantize(weight: Tensor, scale: Tensor, zero: Tensor, bits: int) -> Tensor:
    """See fmcompress.ops.quantize."""
    codes = weight.new_empty(weight.shape, dtype=torch.uint8)
    Tiling(*weight.shape).launch(quantize_kernel, weight, scale, zero, codes, TOP=2**bits - 1)
    return codes


def dequantize(codes: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """See fmcompress.ops.dequantize."""
    weight = scale.new_empty(codes.shape)
    Tiling(*codes.shape).launch(dequantize_kernel, codes, scale, zero, weight)
    return weight
