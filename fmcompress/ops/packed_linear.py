"""A product with a packed weight."""

from typing import Any

import torch
from torch import Tensor

from .._ops import index_bits
from ..reference.packed_linear import dense_weight
from .dispatch import run
from .packing import unpack_codes

Parts = tuple[Tensor | None, ...]


def packed_linear(
    x: Tensor,
    entries: Tensor,
    *,
    bitmask: Tensor | None = None,
    starts: Tensor | None = None,
    indices: Tensor | None = None,
    keep: int = 0,
    group: int = 0,
    bits: int = 0,
    group_size: int = 0,
    scale: Tensor | None = None,
    zero: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """x @ weight.T + bias, the weight read from the parts of the packed format (docs/format.md) and never kept dense.

    Sums are in float32 and rounded once; a weight is (code - zero) * scale in float32. For more than a few tokens some
    rows at a time are decoded to x's dtype (float16: to float32) and multiplied by a dense product.

    x           [tokens, cols] float32, bfloat16 or float16 (the reference takes float64, too)
    entries     values, float32, bfloat16 or float16: [kept] beside a bitmask, [rows, kept of a row] beside indices;
                or codes, uint8 streams of `bits` each: [bytes] of all beside a bitmask, else [rows, bytes]
    bitmask     [rows, ceil(cols / 8)] uint8, a bit for each column that has an entry
    starts      [rows] int64, beside a bitmask: the number of the row's first entry among all (see row_starts)
    indices     [rows, bytes] uint8 streams of places inside each `group` neighbours, of which `keep` have an entry
    bits        0 for values, else 2, 3, 4 or 8
    group_size  columns that share a scale; 0 for a whole row
    scale       [rows, groups] float32, bfloat16 or float16
    zero        [rows, bytes] uint8 streams of `bits` each; None: all are 2^(bits - 1)
    bias        [rows] dtype of x
    returns     [tokens, rows] dtype of x

    Raises ValueError if shapes, dtypes or options do not fit, or if mask, places and entries contradict each other. On
    CUDA a contradiction makes its row NaN instead, since an error would wait for the GPU: use check_packed once.
    Scales must be finite, or what they touch is undefined; so is a product whose sum over the codes overflows float32
    before it is scaled.
    There is a gradient for x and bias, for which the weight is decoded as a whole; the weight itself has none.
    """
    given = (entries, bitmask, starts, indices, scale, zero)
    parts = tuple(None if part is None else part.contiguous() for part in given)
    offset = None if bias is None else bias.contiguous()
    options = (bits, group_size, keep, group)
    if torch.is_grad_enabled() and (x.requires_grad or (bias is not None and bias.requires_grad)):
        return _Differentiable.apply(x.contiguous(), offset, parts, options)  # type: ignore[no-any-return,no-untyped-call]
    return run("packed_linear", x.contiguous(), *parts, offset, *options)  # type: ignore[no-any-return]


class _Differentiable(torch.autograd.Function):
    """packed_linear with a gradient for x and bias."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor | None, parts: Parts, options: tuple[int, ...]) -> Tensor:
        ctx.parts, ctx.options, ctx.cols = parts, options, x.shape[1]
        return run("packed_linear", x, *parts, bias, *options)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        of_x = of_bias = None
        if ctx.needs_input_grad[0]:
            compute = torch.promote_types(gradient.dtype, torch.float32)
            dense = dense_weight(ctx.cols, compute, *ctx.parts, *ctx.options)
            of_x = gradient @ dense.to(gradient.dtype)
        if ctx.needs_input_grad[1]:
            of_bias = gradient.sum(0)
        return of_x, of_bias, None, None


def row_starts(bitmask: Tensor) -> Tensor:
    """The number of the first entry of each row of a bitmask [rows, bytes] uint8 among all: [rows] int64."""
    counts = _row_counts(bitmask)
    return counts.cumsum(0) - counts


def _row_counts(bitmask: Tensor) -> Tensor:
    pairs = bitmask - ((bitmask >> 1) & 0x55)  # bits of each two, then of each four, then of the byte
    fours = (pairs & 0x33) + ((pairs >> 2) & 0x33)
    return ((fours + (fours >> 4)) & 0x0F).sum(1)


def check_packed(
    cols: int,
    entries: Tensor,
    *,
    bitmask: Tensor | None = None,
    starts: Tensor | None = None,
    indices: Tensor | None = None,
    keep: int = 0,
    group: int = 0,
    bits: int = 0,
) -> None:
    """Whether mask, places and entries of a weight of so many columns fit each other, on any device.

    Parts and options as of packed_linear, which they must suit in shape. Raises ValueError if a bit is set after the
    last column, entries are fewer than bits, or places do not ascend inside their group. Waits for the GPU.
    """
    if bitmask is not None and starts is not None:
        if cols % 8 and (bitmask[:, -1] >> cols % 8).any():
            raise ValueError(f"bitmask: expected no bit after the last of {cols} columns.")
        stored = entries.numel() * 8 // bits if bits else entries.numel()
        if ((starts < 0) | (starts > stored - _row_counts(bitmask))).any():
            raise ValueError("starts: do not fit the bitmask and the entries. Count the bits of its rows.")
    elif indices is not None:
        places = unpack_codes(indices, index_bits(group), cols // group * keep).view(-1, keep).long()
        if (places >= group).any() or (places.diff(dim=1) <= 0).any():
            raise ValueError("indices: expected ascending places in every group. The file is damaged.")
