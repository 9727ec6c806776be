"""packed_linear in Triton: few tokens straight from the packed parts, for many the weight is decoded first.

Rows whose mask, starts, places and entries contradict each other are NaN, as in csrc/cuda; nothing else is read.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .pack import load_code, load_codes

FEW_TOKENS = 8
ROWS = 4  # of a program: an estimate, not yet measured on a GPU
MOST_COLS = 512  # of a step


@triton.jit
def codes_at(stream_ptr, number, inside, BITS: tl.constexpr):
    """Numbers of a stream of BITS bits each, by which they are; 0 outside."""
    return load_code(stream_ptr + (number * BITS >> 3), (number * BITS & 7).to(tl.int32), inside, BITS)


@triton.jit
def masked_entries(bitmask_ptr, mask_bytes, r, c, rows, cols, begin, stored):
    """Which columns have an entry, which one it is, how many a row has here, and which rows do not fit."""
    bit = load_codes(bitmask_ptr, mask_bytes, r, c, (r < rows)[:, None] & (c < mask_bytes * 8)[None, :], 1)
    strays = tl.sum(tl.where((c >= cols)[None, :], bit, 0), axis=1)
    count = tl.sum(bit, axis=1)
    rank = begin[:, None] + tl.cumsum(bit, axis=1) - bit
    bad = (strays > 0) | (begin < 0) | (begin > stored - count)
    return (bit == 1) & (c < cols)[None, :] & (bad == 0)[:, None], rank, count, bad


@triton.jit
def placed_entries(indices_ptr, index_bytes, r, c, inside, keep, group, WIDTH: tl.constexpr):
    """The same for places inside groups."""
    stream, first, own = indices_ptr + r[:, None] * index_bytes, (c // group * keep)[None, :], (c % group)[None, :]
    before = tl.full(inside.shape, -1, tl.int32)
    kept, wrong = before * 0, before * 0
    rank = tl.zeros(inside.shape, tl.int64) + first
    for k in range(keep):
        place = codes_at(stream, first + k, inside, WIDTH)
        wrong |= ((place <= before) | (place >= group)).to(tl.int32)
        kept |= (place == own).to(tl.int32)
        rank += (place < own).to(tl.int64)
        before = place
    bad = tl.sum(tl.where(inside, wrong, 0), axis=1) > 0
    return (kept == 1) & inside & (bad == 0)[:, None], rank, bad


@triton.jit
def piece_of_rows(
    entries_ptr, bitmask_ptr, indices_ptr, scale_ptr, zero_ptr, begin, r, c, rows, cols, stored, stride,
    mask_bytes, index_bytes, zero_bytes, groups, group_size, keep, group, BITS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Some columns of some rows of the weight in float32, where the entries of the next columns begin, and bad rows."""
    inside = (r < rows)[:, None] & (c < cols)[None, :]
    bad = r < 0
    if bitmask_ptr is not None:
        kept, number, count, bad = masked_entries(bitmask_ptr, mask_bytes, r, c, rows, cols, begin, stored)
        begin += tl.where(bad, 0, count)
    elif indices_ptr is not None:
        kept, number, bad = placed_entries(indices_ptr, index_bytes, r, c, inside, keep, group, WIDTH)
    else:
        kept, number = inside, tl.zeros(inside.shape, tl.int64) + c[None, :]
    row = entries_ptr if bitmask_ptr is not None else entries_ptr + r[:, None] * stride
    if BITS == 0:
        w = tl.load(row + number, mask=kept, other=0).to(tl.float32)
    else:
        own = (c // group_size)[None, :]
        scale = tl.load(scale_ptr + r[:, None] * groups + own, mask=inside, other=0).to(tl.float32)
        zero = tl.full(inside.shape, 2 ** (BITS - 1), tl.int32)
        if zero_ptr is not None:
            zero = codes_at(zero_ptr + r[:, None] * zero_bytes, own, inside, BITS)
        code = codes_at(row, number, kept, BITS)
        w = tl.where(kept, (code - zero).to(tl.float32) * scale, 0.0)
    return w, begin, bad


@triton.jit
def packed_few_kernel(
    x_ptr, bias_ptr, out_ptr, tokens, starts_ptr, entries_ptr, bitmask_ptr, indices_ptr, scale_ptr, zero_ptr, rows,
    cols, stored, stride, mask_bytes, index_bytes, zero_bytes, groups, group_size, keep, group,
    BITS: tl.constexpr, WIDTH: tl.constexpr, TOKENS: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    r = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    t = tl.arange(0, TOKENS)
    sums = tl.zeros([TOKENS, ROWS], tl.float32)
    begin = tl.zeros([ROWS], tl.int64)
    if starts_ptr is not None:
        begin = tl.load(starts_ptr + r, mask=r < rows, other=0)
    any_bad = tl.zeros([ROWS], tl.int32)
    for first in range(0, cols, COLS):
        c = tl.full([], 0, tl.int64) + first + tl.arange(0, COLS)
        w, begin, bad = piece_of_rows(
            entries_ptr, bitmask_ptr, indices_ptr, scale_ptr, zero_ptr, begin, r, c, rows, cols, stored, stride,
            mask_bytes, index_bytes, zero_bytes, groups, group_size, keep, group, BITS, WIDTH,
        )  # fmt: skip
        any_bad |= bad.to(tl.int32)
        x = tl.load(x_ptr + t[:, None] * cols + c[None, :], mask=(t < tokens)[:, None] & (c < cols)[None, :], other=0)
        sums += tl.sum(x.to(tl.float32)[:, None, :] * w[None, :, :], axis=2)
    if bias_ptr is not None:
        sums += tl.load(bias_ptr + r, mask=r < rows, other=0).to(tl.float32)[None, :]
    sums = tl.where((any_bad != 0)[None, :], float("nan"), sums)
    to = out_ptr + t[:, None] * rows + r[None, :]
    tl.store(to, sums.to(out_ptr.dtype.element_ty), mask=(t < tokens)[:, None] & (r < rows)[None, :])


@triton.jit
def packed_decode_kernel(
    out_ptr, starts_ptr, entries_ptr, bitmask_ptr, indices_ptr, scale_ptr, zero_ptr, rows, cols, stored, stride,
    mask_bytes, index_bytes, zero_bytes, groups, group_size, keep, group,
    BITS: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """The weight in the dtype of `out` [rows, cols]; NaN in a row makes NaN of all of its products."""
    r = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    begin = tl.zeros([ROWS], tl.int64)
    if starts_ptr is not None:
        begin = tl.load(starts_ptr + r, mask=r < rows, other=0)
    for first in range(0, cols, COLS):
        c = tl.full([], 0, tl.int64) + first + tl.arange(0, COLS)
        w, begin, bad = piece_of_rows(
            entries_ptr, bitmask_ptr, indices_ptr, scale_ptr, zero_ptr, begin, r, c, rows, cols, stored, stride,
            mask_bytes, index_bytes, zero_bytes, groups, group_size, keep, group, BITS, WIDTH,
        )  # fmt: skip
        w = tl.where(bad[:, None], float("nan"), w)
        inside = (r < rows)[:, None] & (c < cols)[None, :]
        tl.store(out_ptr + r[:, None] * cols + c[None, :], w.to(out_ptr.dtype.element_ty), mask=inside)


def packed_linear(
    x: Tensor,
    entries: Tensor,
    bitmask: Tensor | None,
    starts: Tensor | None,
    indices: Tensor | None,
    scale: Tensor | None,
    zero: Tensor | None,
    bias: Tensor | None,
    bits: int,
    group_size: int,
    keep: int,
    group: int,
) -> Tensor:
    """See fmcompress.ops.packed_linear."""
    tokens, cols = x.shape
    rows = len(bitmask if bitmask is not None else indices if indices is not None else entries)
    out = x.new_empty((tokens, rows))
    if out.numel() == 0 or cols == 0:
        return out.zero_() if bias is None else out.copy_(bias.expand_as(out))
    parts = (starts, entries, bitmask, indices, scale, zero)
    widths = [0 if part is None else part.shape[1] for part in (bitmask, indices, zero, scale)]
    stored = entries.numel() * 8 // bits if bits else entries.numel()
    stride = 0 if bitmask is not None else entries.shape[1]
    numbers = (rows, cols, stored, stride, *widths, max(1, min(group_size or cols, cols)), keep, max(1, group))
    width = next(w for w in (2, 3, 4, 8) if 1 << w >= group)
    meta = {"BITS": bits, "WIDTH": width, "ROWS": ROWS, "COLS": min(max(triton.next_power_of_2(cols), 8), MOST_COLS)}
    grid = (triton.cdiv(rows, ROWS),)
    with torch.cuda.device_of(x):
        if tokens <= FEW_TOKENS:
            few = triton.next_power_of_2(tokens)
            packed_few_kernel[grid](x, bias, out, tokens, *parts, *numbers, TOKENS=few, **meta)
            return out
        weight = x.new_empty((rows, cols))
        packed_decode_kernel[grid](weight, *parts, *numbers, **meta)
    return torch.nn.functional.linear(x, weight, bias)
