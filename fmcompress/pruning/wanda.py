"""Wanda (Sun et al. 2023, arXiv 2306.11695): weights times the norms of their inputs, and nothing compensates."""

from dataclasses import replace

import torch
from torch import Tensor

from ..layerwise import LayerResult, Pattern, Unstructured, check_layer, drop_lowest


@torch.no_grad()
def wanda(weight: Tensor, hessian: Tensor, pattern: Pattern, *, name: str = "layer") -> LayerResult:
    """Prune the weights of smallest |w| * |x|, where |x| is the norm of the weight's input over the calibration data.

    weight   [rows, cols] any float dtype; left as it is
    hessian  [cols, cols] sum or mean of x x^T, whose diagonal holds the squares of these norms
    pattern  Unstructured (the weights of a row compete, as in the paper; scope "layer": all of the layer) or NM
    returns  LayerResult

    Raises ConfigError if shapes or pattern do not fit, CalibrationError for non-finite input.
    """
    check_layer(weight, hessian, pattern, name)
    if isinstance(pattern, Unstructured) and pattern.scope == "block":
        pattern = replace(pattern, scope="row")
    magnitudes = weight.to(torch.promote_types(weight.dtype, torch.float32)).abs()
    norms = hessian.diagonal().to(magnitudes.dtype).clamp(min=0).sqrt()
    return drop_lowest(weight, magnitudes * norms, pattern, hessian, name)
