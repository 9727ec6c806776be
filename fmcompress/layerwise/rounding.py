"""Rounding what a pruning method has kept: GPTQ's sweep, in which pruned weights stay zero."""

from dataclasses import replace

import torch
from torch import Tensor

from .grid import Grid
from .result import LayerResult, losses
from .solver import solve


@torch.no_grad()
def round_kept(
    weight: Tensor,
    pruned: LayerResult,
    hessian: Tensor,
    grid: Grid,
    *,
    damping: float = 0.01,
    activation_order: bool = False,
    name: str = "layer",
) -> LayerResult:
    """Round a pruned layer to a grid.

    weight   [rows, cols] the original, for the loss
    pruned   what a method has made of it; its weight is what is rounded, and its zeros stay
    hessian  [cols, cols] sum or mean of x x^T over the inputs x
    returns  LayerResult with `quantized`

    Where the kept weights were refitted, the error of rounding adds to that of pruning: at the minimum over a mask the
    gradient of the kept weights is zero, so the sweep from there minimises what the original weights ask for. Raises
    ConfigError and CalibrationError as sparsegpt does.
    """
    rounded = solve(
        pruned.weight,
        hessian,
        None,
        grid,
        damping=damping,
        block_size=128,
        activation_order=activation_order,
        output_energy=1.0,  # the relative error is to the original's, below
        name=name,
        keep_zeros=True,
    )
    compute = torch.promote_types(weight.dtype, torch.float32)
    loss, relative_error = losses(weight.to(compute), rounded.weight.to(compute), hessian)
    sweep = {"round": sum(rounded.seconds.values())}
    return replace(rounded, loss=loss, relative_error=relative_error, seconds={**pruned.seconds, **sweep})
