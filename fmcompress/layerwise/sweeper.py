"""The left-looking column sweep over one layer, which prunes, quantizes, or does both."""

from collections.abc import Iterator

import torch
from torch import Tensor

from .. import ops
from .factor import Factor
from .patterns import NM, Pattern, Unstructured, zeros_of
from .scales import Scales

SUPERBLOCK_COLS = 512  # columns whose share of earlier errors is computed by one wide product


class Sweeper:
    """One layer, solved column by column from left to right in the dtype of the factor.

    weight  [rows, cols]; left as it is
    solved  [rows, cols] dtype of weight: what the weights became, left of where the sweep is
    delta   [rows, cols] weight - solved, before solved was rounded to its dtype
    prune   [rows, cols] bool, a mask that is given instead of a pattern, True = prune

    For each block b the paper's lazily updated weights are W_b + (dW_before R_before,b) R_bb^-1, so that the factor R
    is read once and nothing is inverted but its diagonal blocks.
    """

    def __init__(
        self,
        weight: Tensor,
        factor: Factor,
        pattern: Pattern | None,
        scales: Scales | None,
        block_size: int,
        prune: Tensor | None = None,
    ) -> None:
        self.weight, self.upper, self.pattern, self.scales = weight, factor.upper, pattern, scales
        self.solved = torch.empty_like(weight, memory_format=torch.contiguous_format)
        self.delta = torch.empty_like(self.solved, dtype=factor.upper.dtype)
        self.loss = weight.new_zeros(len(weight), dtype=torch.float64)
        self.keep, self.group = (pattern.keep, pattern.group) if isinstance(pattern, NM) else (0, 0)
        self.unit_cols = ops.MAX_BLOCK_COLS if scales is None else scales.unit_cols
        if isinstance(pattern, Unstructured):
            self.block_cols = block_size
        else:  # nothing is chosen for a block as a whole, so its width changes nothing: whole groups of N:M and scale
            widest = self.unit_cols if scales is not None else min(block_size, self.unit_cols)
            self.block_cols = widest // max(1, self.group) * max(1, self.group)
        self.super_cols = max(1, SUPERBLOCK_COLS // self.block_cols) * self.block_cols
        self.layer_mask = self._choose_whole_layer() if prune is None else prune

    def run(self) -> float:
        """Fill `solved` and `delta`; returns the damped loss."""
        cols = self.weight.shape[1]
        for super_begin, super_end in _spans(0, cols, self.super_cols):
            self.super_begin = super_begin
            # what all earlier columns leave for this superblock: one wide product of growing depth
            self.carried = self.delta[:, :super_begin] @ self.upper[:super_begin, super_begin:super_end]
            for begin, end in _spans(super_begin, super_end, self.block_cols):
                self._solve_block(begin, end)
        return float(self.loss.sum())

    def _solve_block(self, begin: int, end: int) -> None:
        """Choose the mask of a block, then sweep it in units."""
        block, inverse = self._updated(begin, end)
        prune = self._choose(block, inverse.diagonal(), begin, end)
        if end - begin <= self.unit_cols:
            self._sweep(block, inverse, prune, begin, end)
            return
        for left, right in _spans(begin, end, self.unit_cols):
            part = None if prune is None else prune[:, left - begin : right - begin]
            self._sweep(*self._updated(left, right), part, left, right)

    def _updated(self, begin: int, end: int) -> tuple[Tensor, Tensor]:
        """The block's weights after all earlier columns' errors were absorbed, and the block's inverse factor."""
        first = self.super_begin
        carried = self.carried[:, begin - first : end - first]
        if begin > first:
            carried = torch.addmm(carried, self.delta[:, first:begin], self.upper[first:begin, begin:end])
        triangle = self.upper[begin:end, begin:end]
        identity = torch.eye(end - begin, dtype=triangle.dtype, device=triangle.device)
        inverse = torch.linalg.solve_triangular(triangle, identity, upper=True).contiguous()
        return torch.addmm(self._original(begin, end), carried, inverse), inverse

    def _original(self, begin: int, end: int) -> Tensor:
        return self.weight[:, begin:end].to(self.upper.dtype)

    def _choose(self, block: Tensor, diagonal: Tensor, begin: int, end: int) -> Tensor | None:
        """The mask of a block, True = prune; None where groups are chosen inside the sweep, or nothing is pruned."""
        if self.layer_mask is not None:
            return self.layer_mask[:, begin:end]
        if not isinstance(self.pattern, Unstructured):
            return None
        rows = 1 if self.pattern.scope == "row" else len(block)
        # the difference of cumulated counts, so that the rounding of all blocks adds up to the layer's exact count
        count = zeros_of(self.pattern.sparsity, rows * end) - zeros_of(self.pattern.sparsity, rows * begin)
        scores = (block / diagonal).abs_()  # ordered as the paper's squares, which could over- or underflow
        segments = scores if self.pattern.scope == "row" else scores.view(1, -1)
        return ops.select_smallest(segments, count).view(block.shape)

    def _choose_whole_layer(self) -> Tensor | None:
        if not isinstance(self.pattern, Unstructured) or self.pattern.scope != "layer":
            return None
        scores = (self.weight.contiguous() * self.upper.diagonal()).abs_()
        count = self.pattern.zeros(*self.weight.shape)
        return ops.select_smallest(scores.view(1, -1), count).view(self.weight.shape)

    def _sweep(self, block: Tensor, inverse: Tensor, prune: Tensor | None, begin: int, end: int) -> None:
        if self.scales is None:
            self.loss += ops.sweep_block_(block, inverse, prune, keep=self.keep, group=self.group)
        else:
            scale, zero = self.scales.at(begin, end, block, self._doomed(block, inverse, prune))
            loss, self.scales.codes[:, begin:end] = ops.joint_sweep_block_(
                block, inverse, scale, zero, self.scales.grid.bits, prune, keep=self.keep, group=self.group
            )
            self.loss += loss
        torch.sub(self._original(begin, end), block, out=self.delta[:, begin:end])
        self.solved[:, begin:end] = block

    def _doomed(self, block: Tensor, inverse: Tensor, prune: Tensor | None) -> Tensor | None:
        """What will be pruned of a block, as far as it is known before the sweep."""
        if not isinstance(self.pattern, NM) or self.scales is None or not self.scales.refreshed:
            return prune  # scales that stand already do not ask
        return ops.nm_mask((block / inverse.diagonal()).abs_(), self.keep, self.group)


def _spans(begin: int, end: int, width: int) -> Iterator[tuple[int, int]]:
    for left in range(begin, end, width):
        yield left, min(end, left + width)
