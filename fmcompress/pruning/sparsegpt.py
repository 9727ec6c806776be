"""SparseGPT (Frantar and Alistarh 2023, arXiv 2301.00774) with one factorisation, in left-looking form."""

from collections.abc import Iterator

import torch
from torch import Tensor

from .. import ops
from ..errors import CalibrationError, ConfigError
from .factor import MAX_DAMPING, Factor, all_finite, factor_hessian
from .patterns import NM, Pattern, zeros_of
from .result import Clock, LayerResult, count_zeros, finished, quadratic_form

SUPERBLOCK_COLS = 512  # columns whose share of earlier errors is computed by one wide product


def sparsegpt(
    weight: Tensor,
    hessian: Tensor,
    pattern: Pattern,
    *,
    damping: float = 0.01,
    block_size: int = 128,
    output_energy: float | None = None,
    name: str = "layer",
) -> LayerResult:
    """Prune one linear layer so that its output on the calibration inputs changes as little as a column sweep can do.

    weight         [rows, cols] any float dtype; left as it is
    hessian        [cols, cols] sum or mean of x x^T over the inputs x (any scale); left as it is
    pattern        Unstructured(0.5) or NM(2, 4), which keeps 2 of every 4
    damping        share of the mean Hessian diagonal added to the diagonal; raised tenfold, and reported, where needed
    block_size     columns whose mask is chosen together, after all earlier columns are settled
    output_energy  tr(W H W^T) if the caller knows it, as the pipeline does from the layer's outputs; it costs as much
                   as the solve's own products to compute, and only the relative error needs it
    returns        LayerResult; solved in float32, or in float64 where weight and hessian are float64

    Dead columns (inputs that are always zero) are pruned first, but never beyond the pattern; sparsity 0 changes
    nothing. With errors E = dW R (R of factor_hessian), |E|^2 is the damped loss. The left-looking form takes, for
    each block b, the paper's lazily updated weights as W_b + (dW_before R_before,b) R_bb^-1, so that the factor
    is read once and nothing is inverted but its diagonal blocks.
    Raises ConfigError for shapes, patterns and options that do not fit, CalibrationError for non-finite input or a
    Hessian that damping 1.0 does not make positive definite.
    """
    _check(weight, hessian, pattern, damping, block_size)
    if not all_finite(weight):
        raise CalibrationError(f"{name}: the weight holds inf or NaN. The checkpoint is damaged.")
    if pattern.zeros(*weight.shape) == 0:
        return LayerResult(weight + 0.0, 0.0, 0.0, count_zeros(weight))
    clock = Clock()
    dtype = torch.float64 if weight.dtype == hessian.dtype == torch.float64 else torch.float32
    if output_energy is None:
        output_energy = quadratic_form(weight.to(dtype), hessian.to(dtype))
        clock.lap("energy")
    factor = factor_hessian(hessian.to(dtype), damping, name)
    clock.lap("factor")
    sweeper = _Sweeper(weight, factor, pattern, block_size)
    damped_loss = sweeper.run()
    clock.lap("solve")
    # where every column is dead, the stand-in diagonal is all that the damped loss measures
    loss = (
        0.0 if factor.dead.all() else max(0.0, damped_loss - factor.added * _live_squares(sweeper.delta, factor.dead))
    )
    result = finished(sweeper.solved, weight.dtype, name)
    zeros = count_zeros(result)
    clock.lap("report")
    return LayerResult(
        weight=result,
        loss=loss,
        relative_error=loss / output_energy if output_energy > 0 else 0.0,
        zeros=zeros,
        damping=factor.damping,
        dead_columns=int(factor.dead.sum()),
        seconds=clock.laps,
    )


def _check(weight: Tensor, hessian: Tensor, pattern: Pattern, damping: float, block_size: int) -> None:
    if weight.dim() != 2 or not weight.is_floating_point():
        raise ConfigError(f"weight: expected a 2-D float tensor, got {weight.dtype} {list(weight.shape)}.")
    rows, cols = weight.shape
    if tuple(hessian.shape) != (cols, cols):
        raise ConfigError(
            f"hessian: expected [{cols}, {cols}], as the weight has {cols} columns, got {list(hessian.shape)}."
        )
    if not 0 <= damping <= MAX_DAMPING:
        raise ConfigError(f"damping: expected 0 to {MAX_DAMPING:g}, a share of the mean diagonal, got {damping}.")
    if block_size < 1:
        raise ConfigError(f"block size: expected at least 1 column, got {block_size}.")
    if isinstance(pattern, NM) and block_size < pattern.group:
        raise ConfigError(f"block size: expected at least {pattern.group}, one group of {pattern}, got {block_size}.")
    pattern.check(rows, cols)


def _live_squares(delta: Tensor, dead: Tensor) -> float:
    """Sum of squares over the columns that are not dead; `delta` is not needed afterwards and loses the dead ones."""
    if dead.any():
        delta[:, dead] = 0.0
    return float(torch.linalg.vector_norm(delta, dim=1).double().square().sum())


def _spans(begin: int, end: int, width: int) -> Iterator[tuple[int, int]]:
    for left in range(begin, end, width):
        yield left, min(end, left + width)


class _Sweeper:
    """The left-looking sweep over one layer, in the dtype of the factor."""

    def __init__(self, weight: Tensor, factor: Factor, pattern: Pattern, block_size: int) -> None:
        self.weight, self.upper, self.pattern = weight, factor.upper, pattern
        # both are filled from left to right: the pruned weights, and original - pruned before rounding
        self.solved = torch.empty_like(weight, memory_format=torch.contiguous_format)
        self.delta = torch.empty_like(self.solved, dtype=factor.upper.dtype)
        self.loss = weight.new_zeros(len(weight), dtype=torch.float64)
        self.keep, self.group = (pattern.keep, pattern.group) if isinstance(pattern, NM) else (0, 1)
        self.sweep_cols = ops.MAX_BLOCK_COLS // self.group * self.group
        # groups are chosen inside the sweep, so a wider block would change nothing for N:M
        widest = self.sweep_cols if isinstance(pattern, NM) else block_size
        self.block_cols = min(widest, block_size) // self.group * self.group
        self.super_cols = max(1, SUPERBLOCK_COLS // self.block_cols) * self.block_cols
        self.layer_mask = self._choose_whole_layer()

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
        block, inverse = self._updated(begin, end)
        prune = self._choose(block, inverse.diagonal(), begin, end)
        if end - begin <= self.sweep_cols:
            self._sweep(block, inverse, prune, begin, end)
            return
        for left, right in _spans(begin, end, self.sweep_cols):
            assert prune is not None  # only masks that are given are wider than a sweep
            self._sweep(*self._updated(left, right), prune[:, left - begin : right - begin], left, right)

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
        """The mask of a block, True = prune; None where groups are chosen inside the sweep."""
        if isinstance(self.pattern, NM):
            return None
        if self.layer_mask is not None:
            return self.layer_mask[:, begin:end]
        rows = 1 if self.pattern.scope == "row" else len(block)
        # the difference of cumulated counts, so that the rounding of all blocks adds up to the layer's exact count
        count = zeros_of(self.pattern.sparsity, rows * end) - zeros_of(self.pattern.sparsity, rows * begin)
        scores = (block / diagonal).square_()
        return ops.select_smallest(scores.view(-1, rows * (end - begin)), count).view(block.shape)

    def _choose_whole_layer(self) -> Tensor | None:
        if isinstance(self.pattern, NM) or self.pattern.scope != "layer":
            return None
        scores = (self.weight.contiguous() * self.upper.diagonal()).square_()
        count = self.pattern.zeros(*self.weight.shape)
        return ops.select_smallest(scores.view(1, -1), count).view(self.weight.shape)

    def _sweep(self, block: Tensor, inverse: Tensor, prune: Tensor | None, begin: int, end: int) -> None:
        self.loss += ops.sweep_block_(block, inverse, prune, keep=self.keep, group=self.group)
        torch.sub(self._original(begin, end), block, out=self.delta[:, begin:end])
        self.solved[:, begin:end] = block
