"""Round-to-nearest: every weight to its nearest level and nothing compensates. The baseline that needs no data."""

import torch
from torch import Tensor

from ..errors import CalibrationError
from ..layerwise import (
    OFF_THE_GRID,
    Clock,
    Grid,
    LayerResult,
    all_finite,
    check_grid,
    check_weight,
    count_zeros,
    finished,
    losses,
    quantize,
)


@torch.no_grad()
def round_to_nearest(weight: Tensor, grid: Grid, hessian: Tensor | None = None, *, name: str = "layer") -> LayerResult:
    """Quantize the weight of one layer without looking at data. Weights that are 0 stay 0, so it may follow pruning.

    weight   [rows, cols] any float dtype; left as it is
    grid     bits, group size and symmetry; scales are rounded to the dtype of weight
    hessian  [cols, cols] sum or mean of x x^T, for the loss only; without it loss and relative error are NaN
    returns  LayerResult with `quantized`; its weight is the dequantized one

    Raises CalibrationError if the weight is not finite.
    """
    check_weight(weight)
    check_grid(grid)
    clock = Clock()
    if not all_finite(weight):
        raise CalibrationError(f"{name}: the weight holds inf or NaN. The checkpoint is damaged.")
    original = weight.to(torch.promote_types(weight.dtype, torch.float32))
    quantized = quantize(original, grid, weight.dtype)
    solved = quantized.dequantized(original.dtype)
    clock.lap("solve")
    loss, relative = losses(original, solved, hessian)
    result = finished(solved, weight.dtype, name, OFF_THE_GRID)
    zeros = count_zeros(result)
    clock.lap("report")
    return LayerResult(result, loss, relative, zeros, seconds=clock.laps, quantized=quantized)
