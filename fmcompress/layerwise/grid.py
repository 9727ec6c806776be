"""Grids that weights are rounded to: how many levels, and which weights share a scale."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from .. import ops
from ..errors import ConfigError

MAX_GROUP_COLS = 1 << 31  # the widest group that the packed format can describe
LEAST_HALF = 2.0**-24  # the smallest positive float16


@dataclass(frozen=True)
class Grid:
    """A uniform grid of 2^bits levels, value = (code - zero) * scale, on which 0 always lies.

    bits        2, 3, 4 or 8
    group_size  neighbouring columns of a row that share one scale; None: a whole row. The last group may be narrower.
    symmetric   the middle code stands for 0 and the range is the same on both sides; otherwise each group has its own
                zero-point
    candidates  clipped ranges to try for the least squared error; 1 takes smallest and largest weight

    Raises ConfigError for bits that have no packed form and for group sizes that are not 1 to 2^31.
    """

    bits: int = 4
    group_size: int | None = 128
    symmetric: bool = True
    candidates: int = 1

    def __post_init__(self) -> None:
        if self.bits not in ops.BITS:
            raise ConfigError(f"bits: expected one of {', '.join(map(str, ops.BITS))}, got {self.bits!r}.")
        size = self.group_size
        if size is not None and (type(size) is not int or not 1 <= size <= MAX_GROUP_COLS):
            raise ConfigError(
                f"group size: expected 1 to {MAX_GROUP_COLS} columns, got {size!r}. Take None for a whole row."
            )
        if not 1 <= self.candidates <= 1000:
            raise ConfigError(f"candidates: expected 1 to 1000 ranges to try, got {self.candidates}.")

    @property
    def refreshed(self) -> bool:
        """Whether a sweep finds a group's scale when it reaches the group, since one call can sweep a whole group."""
        return self.group_size is not None and self.group_size <= ops.MAX_BLOCK_COLS

    def width(self, cols: int) -> int:
        """Columns of a group of a weight with `cols` columns."""
        return max(1, cols if self.group_size is None else min(self.group_size, cols))

    def groups(self, cols: int) -> int:
        """Groups in a row of `cols` columns."""
        return -(-cols // self.width(cols))

    def __str__(self) -> str:
        where = "row" if self.group_size is None else f"g{self.group_size}"
        return f"{self.bits}-bit {where}{'' if self.symmetric else ' asymmetric'}"


@dataclass(frozen=True)
class QuantizedWeight:
    """A weight on its grid.

    codes  [rows, cols] uint8
    scale  [rows, groups] in the dtype that is stored
    zero   [rows, groups] uint8
    """

    grid: Grid
    codes: Tensor
    scale: Tensor
    zero: Tensor

    def dequantized(self, dtype: torch.dtype) -> Tensor:
        """[rows, cols] (code - zero) * scale, computed in float32 (float64 for float64 scales) and rounded once."""
        rows, cols = self.codes.shape
        compute = torch.promote_types(self.scale.dtype, torch.float32)
        segments = _segments(self.codes, self.grid)
        values = ops.dequantize(segments, self.scale.reshape(-1).to(compute), self.zero.reshape(-1))
        return values.view(rows, self.scale.shape[1] * segments.shape[1])[:, :cols].to(dtype)


def _segments(matrix: Tensor, grid: Grid) -> Tensor:
    """[..., cols] -> [segments, width], a narrower last group filled up with zeros, which every grid holds."""
    cols = matrix.shape[-1]
    width = grid.width(cols)
    missing = -cols % width
    return (pad(matrix, (0, missing)) if missing else matrix).reshape(-1, width)


def middle_of(grid: Grid, shape: Sequence[int], device: torch.device) -> Tensor:
    """The zero-points of a symmetric grid, uint8: all are the middle code."""
    return torch.full(tuple(shape), 1 << (grid.bits - 1), dtype=torch.uint8, device=device)


def find_scales(weight: Tensor, grid: Grid, stored: torch.dtype, middle: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The scale and zero-point of every group of a weight.

    weight   [..., rows, cols] float32 or float64; pruned weights are 0 in it, so that they do not count
    stored   dtype in which the scales will be stored: they are rounded to it here, before anything is quantized
    middle   [..., rows, groups] what middle_of() gives for a symmetric grid, where that is at hand: it is returned
    returns  scale [..., rows, groups], dtype of weight; zero [..., rows, groups] uint8
    """
    shape = *weight.shape[:-1], grid.groups(weight.shape[-1])
    scale, zero = ops.search_grid(
        _segments(weight, grid), grid.bits, symmetric=grid.symmetric, candidates=grid.candidates
    )
    if grid.symmetric:  # also where squares overflow and the search found nothing: readers take it for granted
        zero = middle_of(grid, shape, weight.device) if middle is None else middle
    rounded = scale.to(stored).clamp(min=_least_scale(stored))  # 0 would divide
    return rounded.to(weight.dtype).view(shape), zero.view(shape)


def _least_scale(stored: torch.dtype) -> float:
    """What a scale that rounds to nothing becomes. In float16 also subnormal scales are of use: small weights have
    them, and their inverses are far from overflowing. Elsewhere only the smallest normal number has an inverse."""
    return LEAST_HALF if stored == torch.float16 else torch.finfo(stored).tiny


def quantize(weight: Tensor, grid: Grid, stored: torch.dtype) -> QuantizedWeight:
    """Round a weight [rows, cols], float32 or float64, to the nearest levels of its groups' grids."""
    rows, cols = weight.shape
    scale, zero = find_scales(weight, grid, stored)
    codes = ops.quantize(_segments(weight, grid), scale.view(-1), zero.view(-1), grid.bits)
    codes = codes.view(rows, scale.shape[1] * codes.shape[1])[:, :cols].contiguous()
    return QuantizedWeight(grid, codes, scale.to(stored), zero)
