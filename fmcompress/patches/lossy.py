"""Changes that are kept nearly: rounded to a grid, the largest alone, or of low rank."""

import math

import numpy as np
import torch
from torch import Tensor

from ..checkpoint.layout import DTYPES
from ..formats import packed
from ..layerwise import LayerResult, all_finite, quantize
from .description import PACKED, matrix_shape
from .lossless import Form
from .options import PatchOptions
from .spectrum import factors

ROW_ENTRIES = 1 << 18  # of a block in which products are summed: two float64 of them stay in a core's cache


def change_of(before: Tensor, after: Tensor) -> Tensor | None:
    """[rows, cols] float32 after - before, or None where that says nothing: no matrix, or infinite numbers in it."""
    if after.dim() < 2 or not after.numel():
        return None
    wide = torch.float64 if after.dtype == torch.float64 else torch.float32
    change = (after.to(wide) - before.to(wide)).float().view(matrix_shape(tuple(after.shape)))
    return change if all_finite(change) else None


def largest_only(change: Tensor, density: float) -> Tensor:
    """The share `density` of the entries that are largest, at least one; 0 in place of the others.

    Of equal ones the first. A top-k of torch holds sixteen bytes for every entry, and is slower.
    """
    flat = change.reshape(-1).numpy()
    count, sizes = max(1, math.floor(density * len(flat))), np.abs(flat)
    least = np.partition(sizes, len(flat) - count)[len(flat) - count]
    kept = sizes > least
    kept[np.flatnonzero(sizes == least)[: count - np.count_nonzero(kept)]] = True
    return torch.from_numpy(np.where(kept, flat, np.float32(0))).view(change.shape)


def encode_rounded(change: Tensor, options: PatchOptions) -> Form:
    """A change [rows, cols] on a grid, zeros left out where that is smaller. See lossless.encode.

    Scales are bfloat16 whatever the tensor is: changes are too small for those of float16.
    """
    on_grid = quantize(change, options.grid, torch.bfloat16)
    rounded = on_grid.dequantized(torch.bfloat16)
    zeros = rounded.numel() - int(rounded.count_nonzero())
    parts, described = packed.encode(LayerResult(rounded, math.nan, math.nan, zeros, quantized=on_grid), None)
    return "quantized", {PACKED + name: part for name, part in parts.items()}, {"packed": described}


def encode_low_rank(change: Tensor, options: PatchOptions) -> Form:
    """A change [rows, cols] as the product of two matrices. See lossless.encode."""
    assert options.rank
    rank, dtype = min(options.rank, *change.shape), DTYPES[options.factors]
    left, right = (factor.to(dtype) for factor in factors(change, rank))
    return "low-rank", {"left": left, "right": right}, {"rank": rank, "factors": options.factors}


def product(left: Tensor, right: Tensor) -> Tensor:
    """[rows, cols] float32 left @ right, to the same bits everywhere.

    One rank after the other is added in float64, where the product of two float32 is exact; rounded at the end.
    """
    rows, cols = len(left), right.shape[1]
    total = torch.empty(rows, cols)
    wide, step = right.double(), max(1, ROW_ENTRIES // max(1, cols))
    for top in range(0, rows, step):
        columns = left[top : top + step].double().T.contiguous()
        block = torch.zeros(columns.shape[1], cols, dtype=torch.float64)
        for column, row in zip(columns, wide, strict=True):
            block += column[:, None] * row
        total[top : top + step] = block
    return total


def added(base: Tensor, change: Tensor) -> Tensor:
    """base + change [rows, cols], summed in float32 and rounded once to the dtype of base, in its shape."""
    return (base.float() + change.float().view(base.shape)).to(base.dtype)
