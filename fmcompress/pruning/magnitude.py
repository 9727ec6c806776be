"""Magnitude pruning: the smallest weights go and nothing compensates. The baseline that needs no data."""

import torch
from torch import Tensor

from ..errors import CalibrationError
from ..layerwise import (
    Clock,
    LayerResult,
    Pattern,
    all_finite,
    check_pattern,
    check_weight,
    count_zeros,
    finished,
    losses,
    lowest_scores,
)


@torch.no_grad()
def magnitude(weight: Tensor, pattern: Pattern, hessian: Tensor | None = None, *, name: str = "layer") -> LayerResult:
    """Prune the weights of smallest absolute value.

    weight   [rows, cols] any float dtype; left as it is
    pattern  Unstructured (scope "row": per row; otherwise one threshold for the layer) or NM
    hessian  [cols, cols] sum or mean of x x^T, for the loss only; without it loss and relative error are NaN
    returns  LayerResult

    Raises ConfigError if the pattern does not fit, CalibrationError if the weight is not finite.
    """
    check_weight(weight)
    check_pattern(pattern)
    pattern.check(*weight.shape)
    clock = Clock()
    if not all_finite(weight):
        raise CalibrationError(f"{name}: the weight holds inf or NaN. The checkpoint is damaged.")
    original = weight.to(torch.promote_types(weight.dtype, torch.float32))
    prune = lowest_scores(original.abs(), pattern, getattr(pattern, "scope", "layer"))
    solved = original.masked_fill(prune, 0.0)
    clock.lap("solve")
    loss, relative = losses(original, solved, hessian)
    result = finished(solved, weight.dtype, name)
    zeros = count_zeros(result)
    clock.lap("report")
    return LayerResult(result, loss, relative, zeros, seconds=clock.laps)
