"""A search for the support by ADMM (the idea of ALPS, arXiv 2406.07831, and of arXiv 2401.02938), and a refit."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .. import ops
from ..errors import CalibrationError, ConfigError
from ..layerwise import (
    NM,
    Clock,
    Grid,
    LayerResult,
    Pattern,
    all_finite,
    check_grid,
    check_layer,
    count_zeros,
    lowest_scores,
    quantize,
    round_kept,
)
from .refit import refit

ADMM_STEPS = 48
FINAL_STEPS = 6  # of the refit, which begins where the search has ended
FIRST_PENALTY, LAST_PENALTY = 0.1, 1.0  # of the mean diagonal
LEVEL = 4  # steps between rises of the penalty, each of which costs a factorisation
GRID_SHARE = 0.25  # of the steps, the last ones, that also project onto a grid: more of them harm


@torch.no_grad()
def admm(
    weight: Tensor,
    hessian: Tensor,
    pattern: Pattern,
    *,
    grid: Grid | None = None,
    steps: int = ADMM_STEPS,
    damping: float = 0.001,
    refit_steps: int = FINAL_STEPS,
    round_damping: float = 0.01,
    activation_order: bool = False,
    name: str = "layer",
) -> LayerResult:
    """Prune one linear layer by looking for the support and the weights together.

    weight       [rows, cols] any float dtype and strides; left as it is
    hessian      [cols, cols] sum or mean of x x^T over the inputs x
    pattern      Unstructured (one threshold for the layer, or with scope "row" for each row) or NM
    grid         also round what is kept to this grid: the last quarter of the steps projects onto pattern and grid at
                 once, and GPTQ's sweep rounds what the refit leaves
    steps        at most, of one product [rows, cols] x [cols, cols] each, and an inversion of the Hessian every
                 fourth; the search ends earlier when the support has settled
    damping      share of the mean Hessian diagonal added to the diagonal
    refit_steps  of the refit of what is kept, see refit(); it begins near its end, with the weights of the search
    round_damping, activation_order  of the sweep that rounds to a grid, as in sparsegpt()
    returns      LayerResult; solved in float32, or in float64 where weight and hessian are float64

    With columns scaled to a unit Hessian diagonal, minimise tr((X - A) H (X - A)^T) with X = Z and Z of the pattern:
    X is a ridge solution, Z the largest entries of X + U, U the sum of what is between them, and the penalty on that
    rises step by step. The products of the search run in TensorFloat-32 on a GPU and in bfloat16 on a CPU that has such
    instructions, since it gives but a support and where the refit begins.
    Raises ConfigError for shapes and patterns that do not fit, CalibrationError for non-finite input.
    """
    check_layer(weight, hessian, pattern, name)
    if grid is not None:
        check_grid(grid)
    if steps < 1 or damping < 0:
        raise ConfigError(f"admm: expected at least 1 step and damping of 0, got {steps} and {damping}.")
    if grid is None and pattern.zeros(*weight.shape) == 0:
        return LayerResult(weight + 0.0, 0.0, 0.0, count_zeros(weight))
    clock = Clock()
    dtype = torch.float64 if weight.dtype == hessian.dtype == torch.float64 else torch.float32
    exact = hessian.to(dtype)
    diagonal = exact.diagonal().clamp(min=0)
    live = diagonal > 0
    columns = torch.where(live, diagonal, 1.0).sqrt()
    unit = exact / columns / columns[:, None]
    unit.diagonal().add_(damping)
    start = torch.where(live, weight.to(dtype).contiguous() * columns, 0.0)  # a dead column is pruned first
    project = None if grid is None else _Projection(grid, columns, weight.dtype)
    with _coarse_products(weight.device):
        kept, found = _search(start, unit, pattern, steps, project, name)
    found = found.div_(columns).to(weight.dtype)
    lost = kept & ((found == 0) | ~found.isfinite())  # in the dtype: the refit would take them for pruned, or refuse
    found = torch.where(lost, weight, found)
    clock.lap("search")
    fitted = refit(weight, found, hessian, steps=refit_steps, damping=damping, name=name)
    fitted = replace(fitted, seconds={**clock.laps, **fitted.seconds})
    if grid is None:
        return fitted
    return round_kept(
        weight, fitted, hessian, grid, damping=round_damping, activation_order=activation_order, name=name
    )


class _Projection:
    """Rounds scaled weights to a grid of the unscaled ones."""

    def __init__(self, grid: Grid, columns: Tensor, stored: torch.dtype) -> None:
        self.grid, self.columns, self.stored = grid, columns, stored

    def __call__(self, scaled: Tensor) -> Tensor:
        return quantize(scaled / self.columns, self.grid, self.stored).dequantized(scaled.dtype) * self.columns


def _search(
    start: Tensor, hessian: Tensor, pattern: Pattern, steps: int, project: _Projection | None, name: str
) -> tuple[Tensor, Tensor]:
    """The support that the iteration settles on, [rows, cols] bool, and about the best weights on it."""
    scope = "row" if getattr(pattern, "scope", "") == "row" else "layer"
    choice = _choice(pattern, *start.shape, by_row=scope == "row")
    target, penalty = start @ hessian, FIRST_PENALTY * float(hessian.diagonal().mean())
    growth = (LAST_PENALTY / FIRST_PENALTY) ** (1 / max(1, (steps - 1) // LEVEL))
    kept, dual = ~lowest_scores(start.abs(), pattern, scope), torch.zeros_like(start)
    right, spare = torch.add(target, torch.where(kept, start, 0.0), alpha=penalty), torch.empty_like(start)
    changed: Tensor | int = 1
    for step in range(steps):
        if step % LEVEL == 0:
            if not changed:
                break
            inverse, changed = _ridge_inverse(hessian, penalty, name), 0
        following = penalty * growth if step % LEVEL == LEVEL - 1 else penalty
        right, spare = torch.mm(right, inverse, out=spare), right
        onto_grid = project is not None and step >= (1 - GRID_SHARE) * steps
        unrounded = right + dual if onto_grid else right
        changed = changed + ops.admm_step_(right, dual, kept, target, penalty, following, **choice)
        if onto_grid:
            assert project is not None
            z = project(torch.where(kept, unrounded, 0.0))
            torch.sub(unrounded, z, out=dual).mul_(penalty / following)
            torch.add(target, z.sub_(dual), alpha=following, out=right)
        penalty = following
    if not all_finite(right):
        raise CalibrationError(f"{name}: the search for the support overflows. Scale the Hessian or the weight.")
    return kept, right.sub_(target).div_(penalty).mul_(kept)


def _choice(pattern: Pattern, rows: int, cols: int, *, by_row: bool) -> dict[str, Any]:
    """How admm_step_ is told which entries to keep."""
    if isinstance(pattern, NM):
        return {"keep": pattern.keep, "group": pattern.group}
    return {"prune": pattern.zeros(rows, cols) // (max(1, rows) if by_row else 1), "by_row": by_row}


def _ridge_inverse(hessian: Tensor, penalty: float, name: str) -> Tensor:
    """(H + penalty)^-1 [cols, cols]"""
    damped = hessian.clone()
    damped.diagonal().add_(penalty)
    factor, failed = torch.linalg.cholesky_ex(damped)
    if failed:
        raise CalibrationError(f"{name}: the Hessian is not positive. Sum x x^T in float32 or wider.")
    return torch.cholesky_inverse(factor)


@contextlib.contextmanager
def _coarse_products(device: torch.device) -> Iterator[None]:
    """For a while, float32 products in TensorFloat-32 on a GPU, and in bfloat16 on a CPU that multiplies those."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if device.type == "cuda" else "medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
