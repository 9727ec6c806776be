"""The grids of a layer while it is swept."""

from dataclasses import replace

import torch
from torch import Tensor

from .. import ops
from .grid import Grid, QuantizedWeight, find_scales, middle_of


class Scales:
    """The scales of all groups of a layer, and the codes found so far, both in the order of the sweep.

    Groups of up to 128 columns are refreshed: their scales are found when the sweep reaches them, on the weights as
    they are then, pruned ones left out. Wider groups, whole rows, and all groups when columns are swept in another
    order, have the scales of the original weights.

    weight  [rows, cols] or [batch, rows, cols] in its own order; left as it is
    order   [cols] int64, the columns as they are swept; None from left to right
    """

    def __init__(self, weight: Tensor, grid: Grid, compute: torch.dtype, order: Tensor | None = None) -> None:
        *batch, rows, cols = weight.shape
        self.grid, self.stored, self.order = grid, weight.dtype, order
        self.width = grid.width(cols)
        self.refreshed = order is None and grid.refreshed
        self.codes = torch.empty(weight.shape, dtype=torch.uint8, device=weight.device)
        if self.refreshed:
            shape = *batch, rows, grid.groups(cols)
            self.scale = torch.empty(shape, dtype=compute, device=weight.device)
            self.alone = replace(grid, group_size=None)
            self.middle = middle_of(grid, (*shape[:-1], 1), weight.device) if grid.symmetric else None
            self.zero = middle_of(grid, shape, weight.device)
        else:
            self.scale, self.zero = find_scales(weight.to(compute), grid, self.stored)

    @property
    def unit_cols(self) -> int:
        """Columns that one sweep takes: refreshed groups one at a time."""
        return self.width if self.refreshed else ops.MAX_BLOCK_COLS

    def at(self, begin: int, end: int, block: Tensor, doomed: Tensor | None) -> tuple[Tensor, Tensor]:
        """Scale and zero-point of a block's columns, [rows, 1] where they share one, else [rows, end - begin].

        block   [rows, end - begin] the weights as they are now
        doomed  bool of that shape, True where a weight will be pruned; None if nothing is
        With a batch in front where the weight has one.
        """
        if self.refreshed:
            kept = block if doomed is None else block.masked_fill(doomed, 0.0)
            here = slice(begin // self.width, begin // self.width + 1)
            scale, zero = find_scales(kept, self.alone, self.stored, self.middle)
            self.scale[..., here] = scale
            if self.middle is None:
                self.zero[..., here] = zero
            return scale, zero
        first, last = begin // self.width, (end - 1) // self.width
        if self.order is None and first == last:
            return self.scale[..., first : first + 1], self.zero[..., first : first + 1]
        columns = torch.arange(begin, end, device=block.device) if self.order is None else self.order[begin:end]
        groups = columns // self.width
        return self.scale[..., groups], self.zero[..., groups]

    def finished(self) -> QuantizedWeight:
        """The quantized weight, its columns in their own order again."""
        codes = self.codes
        if self.order is not None:
            codes = torch.empty_like(codes)
            codes[..., self.order] = self.codes
        return QuantizedWeight(self.grid, codes, self.scale.to(self.stored), self.zero)
