"""The left-looking column sweep over one layer, which prunes, quantizes, or does both."""

from collections.abc import Iterator

import torch
from torch import Tensor

from .. import ops
from .patterns import NM, Pattern, Unstructured, zeros_of
from .products import Growing, Products, add_product_, is_split, plus_product, product, split
from .scales import Scales

SUPERBLOCK_COLS = 512  # columns whose share of earlier errors is computed by one wide product


class Sweeper:
    """One layer, or a batch of layers of one shape, solved column by column from left to right in the factor's dtype.

    weight    [rows, cols] or [batch, rows, cols]; left as it is
    upper     [cols, cols] or [batch, cols, cols], R of each layer: damped Hessian = R R^T
    inverses  [blocks, n, n] or [batch, blocks, n, n], R_bb^-1 of the n columns from every multiple of n on, the last
              block filled up; None computes them here
    solved    like weight: what the weights became, left of where the sweep is
    delta     like weight, dtype of upper: weight - solved, before solved was rounded to its dtype
    loss      [rows] or [batch, rows] float64: the damped loss so far
    prune     like weight, bool: a mask that is given instead of a pattern, True = prune

    For each block b the paper's lazily updated weights are W_b + (dW_before R_before,b) R_bb^-1, so that the factor R
    is read once and nothing is inverted but its diagonal blocks. Nothing here waits for a GPU.
    """

    def __init__(
        self,
        weight: Tensor,
        upper: Tensor,
        pattern: Pattern | None,
        scales: Scales | None,
        block_size: int,
        prune: Tensor | None = None,
        *,
        inverses: Tensor | None = None,
        products: Products = "fp32",
    ) -> None:
        self.weight, self.upper, self.pattern, self.scales = weight, upper, pattern, scales
        self.inverses = inverses
        self.solved = torch.empty_like(weight, memory_format=torch.contiguous_format)
        self.delta = torch.empty_like(self.solved, dtype=upper.dtype)
        self.loss = weight.new_zeros(weight.shape[:-1], dtype=torch.float64)
        self.keep, self.group = (pattern.keep, pattern.group) if isinstance(pattern, NM) else (0, 0)
        self.unit_cols = ops.MAX_BLOCK_COLS if scales is None else scales.unit_cols
        if isinstance(pattern, Unstructured):
            self.block_cols = block_size
        else:  # nothing is chosen for a block as a whole, so its width changes nothing: whole groups of N:M and scale
            widest = self.unit_cols if scales is not None else min(block_size, self.unit_cols)
            self.block_cols = widest // max(1, self.group) * max(1, self.group)
        self.super_cols = max(1, SUPERBLOCK_COLS // self.block_cols) * self.block_cols
        self.layer_mask = self._choose_whole_layer() if prune is None else prune
        self.products, self.errors = products, Growing(self.delta, products)

    def run(self) -> None:
        """Fill `solved`, `delta` and `loss`."""
        for super_begin, super_end in _spans(0, self.weight.shape[-1], self.super_cols):
            self.super_begin = super_begin
            # what all earlier columns leave for this superblock: one wide product of growing depth
            panel = self.upper[..., :super_begin, super_begin:super_end]
            earlier = self.errors.part(slice(None), slice(0, super_begin))
            self.carried = product(earlier, split(panel) if is_split(self.products, panel) else panel)
            self.original = self.weight[..., super_begin:super_end].to(self.upper.dtype)
            for begin, end in _spans(super_begin, super_end, self.block_cols):
                self._solve_block(begin, end)
            self.errors.settle(slice(None), slice(super_begin, super_end))

    def _solve_block(self, begin: int, end: int) -> None:
        """Choose the mask of a block, then sweep it in units."""
        if end - begin <= self.unit_cols:
            block, inverse = self._updated(begin, end)
            self._sweep(block, inverse, self._choose(block, inverse, begin, end), begin, end)
            return
        prune = self._choose(*self._updated(begin, end, peek=True), begin, end)
        for left, right in _spans(begin, end, self.unit_cols):
            part = None if prune is None else prune[..., left - begin : right - begin]
            self._sweep(*self._updated(left, right), part, left, right)

    def _updated(self, begin: int, end: int, *, peek: bool = False) -> tuple[Tensor, Tensor]:
        """The block's weights after all earlier columns' errors were absorbed, and the block's inverse factor.

        peek  they are asked for again, in parts
        """
        first = self.super_begin
        carried = self.carried[..., begin - first : end - first]
        if begin > first:
            absorb = plus_product if peek else add_product_
            carried = absorb(carried, self.delta[..., first:begin], self.upper[..., first:begin, begin:end])
        inverse = self._inverse(begin, end)
        return plus_product(self._original(begin, end), carried, inverse), inverse

    def _inverse(self, begin: int, end: int) -> Tensor:
        """R_bb^-1: a part of a wider one where that is there, as a triangle's inverse holds those of its parts."""
        if self.inverses is not None:
            width = self.inverses.shape[-1]
            block, here = begin // width, slice(begin % width, begin % width + end - begin)
            if here.stop <= width:
                return self.inverses[..., block, here, here]
        triangle = self.upper[..., begin:end, begin:end]
        identity = torch.eye(end - begin, dtype=triangle.dtype, device=triangle.device).expand_as(triangle)
        return torch.linalg.solve_triangular(triangle, identity, upper=True).contiguous()

    def _original(self, begin: int, end: int) -> Tensor:
        return self.original[..., begin - self.super_begin : end - self.super_begin]

    def _choose(self, block: Tensor, inverse: Tensor, begin: int, end: int) -> Tensor | None:
        """The mask of a block, True = prune; None where groups are chosen inside the sweep, or nothing is pruned."""
        if self.layer_mask is not None:
            return self.layer_mask[..., begin:end]
        if not isinstance(self.pattern, Unstructured):
            return None
        by_row = self.pattern.scope == "row"
        rows = 1 if by_row else block.shape[-2]
        # the difference of cumulated counts, so that the rounding of all blocks adds up to the layer's exact count
        count = zeros_of(self.pattern.sparsity, rows * end) - zeros_of(self.pattern.sparsity, rows * begin)
        segments = self._scores(block, inverse).view(-1 if by_row else self._layers, rows * (end - begin))
        return ops.select_smallest(segments, count, by_magnitude=True).view(block.shape)

    @property
    def _layers(self) -> int:
        return 1 if self.weight.dim() == 2 else len(self.weight)

    def _scores(self, block: Tensor, inverse: Tensor) -> Tensor:
        """Their magnitudes are ordered as the paper's squares, which could over- or underflow."""
        return block / inverse.diagonal(dim1=-2, dim2=-1).unsqueeze(-2)

    def _choose_whole_layer(self) -> Tensor | None:
        if not isinstance(self.pattern, Unstructured) or self.pattern.scope != "layer":
            return None
        scores = self.weight.contiguous() * self.upper.diagonal(dim1=-2, dim2=-1).unsqueeze(-2)
        rows, cols = self.weight.shape[-2:]
        segments = scores.view(self._layers, rows * cols)
        return ops.select_smallest(segments, self.pattern.zeros(rows, cols), by_magnitude=True).view(self.weight.shape)

    def _sweep(self, block: Tensor, inverse: Tensor, prune: Tensor | None, begin: int, end: int) -> None:
        if self.scales is None:
            self.loss += ops.sweep_block_(block, inverse, prune, keep=self.keep, group=self.group)
        else:
            scale, zero = self.scales.at(begin, end, block, self._doomed(block, inverse, prune))
            loss, self.scales.codes[..., begin:end] = ops.joint_sweep_block_(
                block, inverse, scale, zero, self.scales.grid.bits, prune, keep=self.keep, group=self.group
            )
            self.loss += loss
        torch.sub(self._original(begin, end), block, out=self.delta[..., begin:end])
        self.solved[..., begin:end] = block

    def _doomed(self, block: Tensor, inverse: Tensor, prune: Tensor | None) -> Tensor | None:
        """What will be pruned of a block, as far as it is known before the sweep."""
        if not isinstance(self.pattern, NM) or self.scales is None or not self.scales.refreshed:
            return prune  # scales that stand already do not ask
        scores = self._scores(block, inverse)
        groups = scores.view(-1, scores.shape[-1])
        return ops.nm_mask(groups, self.keep, self.group, by_magnitude=True).view(scores.shape)


def _spans(begin: int, end: int, width: int) -> Iterator[tuple[int, int]]:
    for left in range(begin, end, width):
        yield left, min(end, left + width)
