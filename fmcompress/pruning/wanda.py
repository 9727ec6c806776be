"""Wanda (Sun et al. 2023, arXiv 2306.11695): weights times the norms of their inputs, and nothing compensates."""

from dataclasses import replace

import torch
from torch import Tensor

from ..errors import CalibrationError
from ..layerwise import (
    Clock,
    LayerResult,
    Pattern,
    Unstructured,
    all_finite,
    check_hessian,
    check_pattern,
    check_weight,
    count_zeros,
    finished,
    losses,
    lowest_scores,
)


@torch.no_grad()
def wanda(weight: Tensor, hessian: Tensor, pattern: Pattern, *, name: str = "layer") -> LayerResult:
    """Prune the weights of smallest |w| * |x|, where |x| is the norm of the weight's input over the calibration data.

    weight   [rows, cols] any float dtype; left as it is
    hessian  [cols, cols] sum or mean of x x^T, whose diagonal holds the squares of these norms
    pattern  Unstructured (the weights of a row compete, as in the paper; scope "layer": all of the layer) or NM
    returns  LayerResult

    Raises ConfigError if shapes or pattern do not fit, CalibrationError for non-finite input.
    """
    check_weight(weight)
    check_pattern(pattern)
    if isinstance(pattern, Unstructured) and pattern.scope == "block":
        pattern = replace(pattern, scope="row")
    check_hessian(hessian, weight)
    pattern.check(*weight.shape)
    clock = Clock()
    if not (all_finite(weight) and all_finite(hessian.diagonal())):
        raise CalibrationError(f"{name}: the weight or the Hessian holds inf or NaN. The checkpoint is damaged.")
    original = weight.to(torch.promote_types(weight.dtype, torch.float32))
    scores = original.abs() * hessian.diagonal().to(original.dtype).clamp(min=0).sqrt()
    prune = lowest_scores(scores, pattern, getattr(pattern, "scope", "row"))
    solved = original.masked_fill(prune, 0.0)
    clock.lap("solve")
    loss, relative = losses(original, solved, hessian)
    result = finished(solved, weight.dtype, name)
    zeros = count_zeros(result)
    clock.lap("report")
    return LayerResult(result, loss, relative, zeros, seconds=clock.laps)
