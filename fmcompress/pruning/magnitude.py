"""Magnitude pruning: the smallest weights go and nothing compensates. The baseline that needs no data."""

import torch
from torch import Tensor

from ..layerwise import LayerResult, Pattern, check_layer, drop_lowest


@torch.no_grad()
def magnitude(weight: Tensor, pattern: Pattern, hessian: Tensor | None = None, *, name: str = "layer") -> LayerResult:
    """Prune the weights of smallest absolute value.

    weight   [rows, cols] any float dtype; left as it is
    pattern  Unstructured (scope "row": per row; otherwise one threshold for the layer) or NM
    hessian  [cols, cols] sum or mean of x x^T, for the loss only; without it loss and relative error are NaN
    returns  LayerResult

    Raises ConfigError if shapes or pattern do not fit, CalibrationError for non-finite input.
    """
    check_layer(weight, hessian, pattern, name)
    scores = weight.to(torch.promote_types(weight.dtype, torch.float32)).abs()
    return drop_lowest(weight, scores, pattern, hessian, name)
