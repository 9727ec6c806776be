"""GPTQ (Frantar et al. 2022, arXiv 2210.17323): the column sweep that rounds and prunes nothing."""

from torch import Tensor

from ..layerwise import Grid, LayerResult, solve


def gptq(
    weight: Tensor,
    hessian: Tensor,
    grid: Grid,
    *,
    damping: float = 0.01,
    block_size: int = 128,
    activation_order: bool = False,
    output_energy: float | None = None,
    name: str = "layer",
) -> LayerResult:
    """Round one linear layer to a grid so that its output on the calibration inputs changes as little as possible.

    weight            [rows, cols] any float dtype; left as it is
    hessian           [cols, cols] sum or mean of x x^T over the inputs x (any scale); left as it is
    grid              bits, group size and symmetry; scales are rounded to the dtype of weight
    activation_order  sweep the columns by falling Hessian diagonal; scales are then those of the original weights
    damping, block_size, output_energy, name  as for fmcompress.pruning.sparsegpt
    returns           LayerResult with `quantized`; its weight is the dequantized one

    Raises ConfigError for shapes and options that do not fit, CalibrationError as sparsegpt does.
    """
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
    )
