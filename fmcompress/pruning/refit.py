"""The best weights for a mask that is given: least squares by conjugate gradients, all rows at once."""

import torch
from torch import Tensor

from ..errors import ConfigError
from ..layerwise import Clock, LayerResult, check_layer, count_zeros, finished, quadratic_form, row_forms

REFIT_STEPS = 30


@torch.no_grad()
def refit(
    weight: Tensor,
    pruned: Tensor,
    hessian: Tensor,
    *,
    steps: int = REFIT_STEPS,
    damping: float = 0.001,
    tolerance: float = 1e-6,
    name: str = "layer",
) -> LayerResult:
    """Move the weights that are kept to where the layer's output on the calibration inputs changes least.

    weight     [rows, cols] the original, any float dtype
    pruned     [rows, cols] what a method has made of it: its zeros stay, its other weights are where the search begins
    hessian    [cols, cols] sum or mean of x x^T over the inputs x
    steps      at most, of one product [rows, cols] x [cols, cols] each
    damping    share of the mean Hessian diagonal that holds the weights to the original ones
    tolerance  stop where the gradient, measured as it is preconditioned, is this share of the first one
    returns    LayerResult, the weight in the dtype of `pruned`; in float32, or in float64 where all three are

    Every row is the solution of (H_SS) x = (H w)_S over its kept columns S, by conjugate gradients preconditioned with
    the diagonal. A row whose error would not fall, be it by rounding to the dtype, stays as it was, so the layer's
    error never rises. Raises ConfigError for shapes that do not fit, CalibrationError for non-finite input.
    """
    check_layer(weight, hessian, None, name)
    check_layer(pruned, None, None, name)
    if pruned.shape != weight.shape:
        raise ConfigError(f"pruned: expected {list(weight.shape)} as the weight, got {list(pruned.shape)}.")
    if steps < 0 or damping < 0:
        raise ConfigError(f"refit: expected steps and damping of at least 0, got {steps} and {damping}.")
    clock = Clock()
    double = weight.dtype == pruned.dtype == hessian.dtype == torch.float64
    dtype = torch.float64 if double else torch.float32
    original, start, hessian = weight.to(dtype), pruned.to(dtype), hessian.to(dtype)
    diagonal = hessian.diagonal()
    live = diagonal > 0
    damped = hessian.clone()
    damped.diagonal().add_(damping * diagonal[live].mean() if live.any() else 0.0)
    solved = _conjugate_gradients(original, start, damped, (start != 0) & live, steps, tolerance)
    clock.lap("refit")
    result = finished(solved, pruned.dtype, name)
    before, after = (row_forms(solution - original, hessian) for solution in (start, result.to(dtype)))
    worse = after >= before
    result[worse] = pruned[worse] + 0.0
    loss, energy = float(torch.where(worse, before, after).sum()), quadratic_form(original, hessian)
    zeros = count_zeros(result)
    clock.lap("report")
    return LayerResult(result, loss, loss / (energy or 1.0), zeros, damping, int((~live).sum()), seconds=clock.laps)


def _conjugate_gradients(
    original: Tensor, start: Tensor, hessian: Tensor, free: Tensor, steps: int, tolerance: float
) -> Tensor:
    """Per row the minimum of (x - w) H (x - w)^T over the entries that are free."""
    x, inverse = start.clone(), torch.where(free, 1 / hessian.diagonal(), 0.0)
    residual = (original - x) @ hessian * free
    scaled = residual * inverse
    direction, size = scaled.clone(), (residual * scaled).sum(1, keepdim=True)
    first = size.clone()
    for _ in range(steps):
        product = direction @ hessian * free
        curvature = (direction * product).sum(1, keepdim=True)
        going = (curvature > 0) & (size > tolerance**2 * first)
        if not going.any():
            break
        length = torch.where(going, size / curvature, 0.0)
        x.addcmul_(length, direction)
        residual.addcmul_(length, product, value=-1)
        torch.mul(residual, inverse, out=scaled)
        before, size = size, (residual * scaled).sum(1, keepdim=True)
        direction.mul_(torch.where(going, size / before, 0.0)).add_(scaled)
    return x
