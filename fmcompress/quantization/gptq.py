"""GPTQ (Frantar et al. 2022, arXiv 2210.17323): the column sweep that rounds and prunes nothing."""

from torch import Tensor

from ..layerwise import Grid, LayerResult, check_grid, solve


def gptq(
    weight: Tensor,
    hessian: Tensor,
    grid: Grid,
    *,
    damping: float = 0.01,
    block_size: int = 128,
    activation_order: bool = False,
    keep_zeros: bool = False,
    output_energy: float | None = None,
    name: str = "layer",
) -> LayerResult:
    """Round one linear layer to a grid so that its output on the calibration inputs changes as little as possible.

    weight            [rows, cols] any float dtype; left as it is
    hessian           [cols, cols] sum or mean of x x^T over the inputs x (any scale); left as it is
    grid              bits, group size and symmetry; scales are rounded to the dtype of weight
    activation_order  sweep the columns by falling Hessian diagonal; scales are then those of the original weights
    keep_zeros        weights that are 0 stay exactly 0, so that a pruned layer keeps its pattern; scales and rounding
                      errors are then those of the other weights, at some cost in loss
    damping, block_size, output_energy, name  as for fmcompress.pruning.sparsegpt
    returns           LayerResult with `quantized`; its weight is the dequantized one

    Raises ConfigError for shapes and options that do not fit, CalibrationError as sparsegpt does.
    """
    check_grid(grid)
    return solve(
        weight,
        hessian,
        None,
        grid,
        damping=damping,
        block_size=block_size,
        activation_order=activation_order,
        output_energy=output_energy,
        name=name,
        keep_zeros=keep_zeros,
    )
