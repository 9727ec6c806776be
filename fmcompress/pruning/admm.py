"""A search for the support by ADMM (the idea of ALPS, arXiv 2406.07831, and of arXiv 2401.02938), and a refit."""

from dataclasses import replace

import torch
from torch import Tensor

from ..errors import CalibrationError, ConfigError
from ..layerwise import Clock, LayerResult, Pattern, all_finite, check_layer, lowest_scores
from .refit import REFIT_STEPS, refit

ADMM_STEPS = 80
FIRST_PENALTY = 0.1  # of the mean eigenvalue
GROW_EVERY = 3  # steps between rises of the penalty
SETTLED = 3  # checks in a row without a change of the support end the search


@torch.no_grad()
def admm(
    weight: Tensor,
    hessian: Tensor,
    pattern: Pattern,
    *,
    steps: int = ADMM_STEPS,
    growth: float = 1.15,
    damping: float = 0.001,
    refit_steps: int = REFIT_STEPS,
    name: str = "layer",
) -> LayerResult:
    """Prune one linear layer by looking for the support and the weights together.

    weight       [rows, cols] any float dtype; left as it is
    hessian      [cols, cols] sum or mean of x x^T over the inputs x
    pattern      Unstructured (one threshold for the layer, or with scope "row" for each row) or NM
    steps        at most, of two products [rows, cols] x [cols, cols] each; the search ends earlier when the support
                 has settled
    growth       factor of the penalty, every third step; 1.6 for some 24 steps
    damping      share of the mean Hessian diagonal added to the diagonal
    refit_steps  of the refit of what is kept, see refit()
    returns      LayerResult; solved in float32, or in float64 where weight and hessian are float64

    With columns scaled to a unit Hessian diagonal, minimise tr((X - A) H (X - A)^T) with X = Z and Z of the pattern:
    X is a ridge solution, for which one eigendecomposition serves every penalty; Z the largest entries of X + U; U the
    sum of what is between them. Raises ConfigError for shapes and patterns that do not fit, CalibrationError for
    non-finite input.
    """
    check_layer(weight, hessian, pattern, name)
    if steps < 1 or not growth >= 1 or damping < 0:
        raise ConfigError(
            f"admm: expected at least 1 step, growth of 1 and damping of 0, got {steps}, {growth}, {damping}."
        )
    clock = Clock()
    dtype = torch.float64 if weight.dtype == hessian.dtype == torch.float64 else torch.float32
    original, exact = weight.to(dtype), hessian.to(dtype)
    diagonal = exact.diagonal().clamp(min=0)
    live = diagonal > 0
    columns = torch.where(live, diagonal, 1.0).sqrt()
    unit = exact / columns / columns[:, None]
    unit.diagonal().add_(damping)
    values, vectors = torch.linalg.eigh(unit)
    clock.lap("eigen")
    start = torch.where(live, original * columns, 0.0)  # a dead column is pruned first
    support = _search(start, unit, values.clamp(min=damping / 2), vectors, pattern, steps, growth, name)
    clock.lap("search")
    pruned = torch.where(support, weight, 0.0)
    fitted = refit(weight, pruned, hessian, steps=refit_steps, damping=damping, name=name)
    return replace(fitted, seconds={**clock.laps, **fitted.seconds})


def _search(
    start: Tensor,
    hessian: Tensor,
    values: Tensor,
    vectors: Tensor,
    pattern: Pattern,
    steps: int,
    growth: float,
    name: str,
) -> Tensor:
    """The support that the iteration settles on. [rows, cols] bool"""
    scope = "row" if getattr(pattern, "scope", "") == "row" else "layer"
    target, penalty = start @ hessian, FIRST_PENALTY * float(values.mean())
    kept = ~lowest_scores(start.abs(), pattern, scope)
    z, dual, unchanged = torch.where(kept, start, 0.0), torch.zeros_like(start), 0
    for step in range(steps):
        x = torch.add(target, z - dual, alpha=penalty) @ vectors
        x = x.div_(values + penalty) @ vectors.mT
        dual.add_(x)
        before, kept = kept, ~lowest_scores(dual.abs(), pattern, scope)
        z = torch.where(kept, dual, 0.0)
        dual.sub_(z)
        if step % GROW_EVERY == GROW_EVERY - 1:
            unchanged = unchanged + 1 if torch.equal(before, kept) else 0
            if unchanged == SETTLED:
                break
            penalty *= growth
            dual.div_(growth)
    if not all_finite(z):
        raise CalibrationError(f"{name}: the search for the support overflows. Scale the Hessian or the weight.")
    return kept
