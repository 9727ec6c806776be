"""From a weight and its Hessian to a solved layer: factor, sweep, measure."""

import math

import torch
from torch import Tensor

from ..errors import CalibrationError, ConfigError
from .damping import MAX_DAMPING
from .factor import all_finite, check_finite_hessian, factor_hessian
from .grid import Grid
from .patterns import NM, Pattern, Unstructured
from .result import OFF_THE_GRID, Clock, LayerResult, count_zeros, finished, quadratic_form
from .scales import Scales
from .sweeper import Sweeper


@torch.no_grad()
def solve(
    weight: Tensor,
    hessian: Tensor,
    pattern: Pattern | None,
    grid: Grid | None,
    *,
    damping: float,
    block_size: int,
    activation_order: bool,
    output_energy: float | None,
    name: str,
    keep_zeros: bool = False,
) -> LayerResult:
    """Prune by a pattern, quantize to a grid, or both; fmcompress.pruning.sparsegpt describes the arguments.

    keep_zeros  weights that are 0 stay 0, as if a pattern had chosen them; not with a pattern
    """
    _check(weight, hessian, pattern, grid, damping)
    check_options(pattern, grid, block_size=block_size, activation_order=activation_order)
    if pattern is not None:
        pattern.check(*weight.shape)
    if not all_finite(weight):
        raise CalibrationError(f"{name}: the weight holds inf or NaN. The checkpoint is damaged.")
    if grid is None and (pattern is None or pattern.zeros(*weight.shape) == 0):
        return LayerResult(weight + 0.0, 0.0, 0.0, count_zeros(weight))
    clock = Clock()
    dtype = torch.float64 if weight.dtype == hessian.dtype == torch.float64 else torch.float32
    hessian = hessian.to(dtype)
    if output_energy is None:
        output_energy = quadratic_form(weight.to(dtype), hessian)
        clock.lap("energy")
    order = torch.argsort(hessian.diagonal(), descending=True, stable=True) if activation_order else None
    ordered = weight if order is None else weight[:, order]
    factor = factor_hessian(hessian if order is None else hessian[order][:, order], damping, name)
    clock.lap("factor")
    scales = None if grid is None else Scales(weight, grid, dtype, order)
    sweeper = Sweeper(ordered, factor, pattern, scales, block_size, ordered == 0 if keep_zeros else None)
    damped_loss = sweeper.run()
    if not math.isfinite(damped_loss + output_energy):
        raise CalibrationError(f"{name}: the loss is not finite in {dtype}. Scale the Hessian or the weight.")
    clock.lap("solve")
    # where every column is dead, the stand-in diagonal is all that the damped loss measures
    live = 0.0 if factor.dead.all() else damped_loss - factor.added * _live_squares(sweeper.delta, factor.dead)
    solved = sweeper.solved
    if order is not None:
        solved = torch.empty_like(solved)
        solved[:, order] = sweeper.solved
    remedy = "Raise the damping" + ("." if grid is None else f". {OFF_THE_GRID}")
    result = finished(solved, weight.dtype, name, remedy)
    zeros, loss = count_zeros(result), max(0.0, live)
    clock.lap("report")
    return LayerResult(
        weight=result,
        loss=loss,
        relative_error=loss / output_energy if output_energy > 0 else 0.0,
        zeros=zeros,
        damping=factor.damping,
        dead_columns=int(factor.dead.sum()),
        seconds=clock.laps,
        quantized=None if scales is None else scales.finished(),
    )


def check_options(pattern: Pattern | None, grid: Grid | None, *, block_size: int, activation_order: bool) -> None:
    """Raise ConfigError if the options of a column sweep do not fit each other, whatever the weight."""
    if block_size < 1:
        raise ConfigError(f"block size: expected at least 1 column, got {block_size}.")
    if isinstance(pattern, NM):
        if block_size < pattern.group:
            raise ConfigError(
                f"block size: expected at least {pattern.group}, one group of {pattern}, got {block_size}."
            )
        if activation_order:
            raise ConfigError(f"activation order: it would scatter the groups of {pattern}. Use one or the other.")
    if grid is None or grid.group_size is None or not grid.refreshed or activation_order:
        return
    if isinstance(pattern, Unstructured) and block_size % grid.group_size:
        raise ConfigError(f"block size: expected a multiple of the group size {grid.group_size}, got {block_size}.")
    if isinstance(pattern, NM) and grid.group_size % pattern.group:
        raise ConfigError(
            f"group size: expected a multiple of {pattern.group}, one group of {pattern}, got {grid.group_size}."
        )


def check_weight(weight: Tensor) -> None:
    """Raise ConfigError unless it is a matrix of floats."""
    if not isinstance(weight, Tensor):
        raise ConfigError(f"weight: expected a torch.Tensor, got {type(weight).__name__}.")
    if weight.dim() != 2 or not weight.is_floating_point():
        raise ConfigError(f"weight: expected a 2-D float tensor, got {weight.dtype} {list(weight.shape)}.")


def check_hessian(hessian: Tensor, weight: Tensor) -> None:
    """Raise ConfigError unless it is a square matrix of floats, of as many columns as the weight."""
    check_weight(hessian)
    cols = weight.shape[1]
    if tuple(hessian.shape) != (cols, cols):
        raise ConfigError(
            f"hessian: expected [{cols}, {cols}], as the weight has {cols} columns, got {list(hessian.shape)}."
        )


def check_layer(weight: Tensor, hessian: Tensor | None, pattern: Pattern | None, name: str) -> None:
    """Raise ConfigError for shapes and patterns that do not fit, CalibrationError for numbers that are none."""
    check_weight(weight)
    if pattern is not None:
        check_pattern(pattern)
        pattern.check(*weight.shape)
    if hessian is not None:
        check_hessian(hessian, weight)
    if not all_finite(weight):
        raise CalibrationError(f"{name}: the weight holds inf or NaN. The checkpoint is damaged.")
    if hessian is not None:
        check_finite_hessian(hessian, name)


def check_pattern(pattern: Pattern) -> None:
    """Raise ConfigError unless it is one."""
    if not isinstance(pattern, Pattern):
        raise ConfigError(f"pattern: expected Unstructured(0.5) or NM(2, 4), got {pattern!r}.")


def check_grid(grid: Grid) -> None:
    """Raise ConfigError unless it is one."""
    if not isinstance(grid, Grid):
        raise ConfigError(f"grid: expected a Grid such as Grid(bits=4, group_size=128), got {grid!r}.")


def _check(weight: Tensor, hessian: Tensor, pattern: Pattern | None, grid: Grid | None, damping: float) -> None:
    check_weight(weight)
    if pattern is not None:
        check_pattern(pattern)
    if grid is not None:
        check_grid(grid)
    check_hessian(hessian, weight)
    if not 0 <= damping <= MAX_DAMPING:
        raise ConfigError(f"damping: expected 0 to {MAX_DAMPING:g}, a share of the mean diagonal, got {damping}.")


def _live_squares(delta: Tensor, dead: Tensor) -> float:
    """Sum of squares over the columns that are not dead; `delta` is not needed afterwards and loses the dead ones."""
    if dead.any():
        delta[:, dead] = 0.0
    return float(torch.linalg.vector_norm(delta, dim=1).double().square().sum())
