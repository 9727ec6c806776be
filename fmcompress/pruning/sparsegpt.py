"""SparseGPT (Frantar and Alistarh 2023, arXiv 2301.00774) with one factorisation, in left-looking form."""

from torch import Tensor

from ..layerwise import Grid, LayerResult, Pattern, solve


def sparsegpt(
    weight: Tensor,
    hessian: Tensor,
    pattern: Pattern,
    *,
    grid: Grid | None = None,
    damping: float = 0.01,
    block_size: int = 128,
    activation_order: bool = False,
    output_energy: float | None = None,
    name: str = "layer",
) -> LayerResult:
    """Prune one linear layer so that its output on the calibration inputs changes as little as a column sweep can do.

    weight            [rows, cols] any float dtype; left as it is
    hessian           [cols, cols] sum or mean of x x^T over the inputs x (any scale); left as it is
    pattern           Unstructured(0.5) or NM(2, 4), which keeps 2 of every 4
    grid              also round the kept weights to this grid, in the same sweep (section 3.4 of the paper); scales of
                      groups up to 128 columns are found in the sweep, over the weights that are kept
    damping           share of the mean Hessian diagonal added to the diagonal; raised tenfold, and reported, where
                      needed
    block_size        columns whose mask is chosen together, after all earlier columns are settled
    activation_order  sweep the columns by falling Hessian diagonal (GPTQ's act-order); not for N:M. Scales are then
                      those of the original weights, and stay in the columns' own order. It helps rounding; with masks
                      chosen block by block it harms pruning
    output_energy     tr(W H W^T) if the caller knows it, as the pipeline does from the layer's outputs; it costs as
                      much as the solve's own products to compute, and only the relative error needs it
    returns           LayerResult; solved in float32, or in float64 where weight and hessian are float64

    Dead columns (inputs that are always zero) are pruned first, but never beyond the pattern; sparsity 0 changes
    nothing. With errors E = dW R (R of factor_hessian), |E|^2 is the damped loss.
    Raises ConfigError for shapes, patterns and options that do not fit, CalibrationError for non-finite input or a
    Hessian that damping 1.0 does not make positive definite.
    """
    return solve(
        weight,
        hessian,
        pattern,
        grid,
        damping=damping,
        block_size=block_size,
        activation_order=activation_order,
        output_energy=output_energy,
        name=name,
    )
