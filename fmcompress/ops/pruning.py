"""Selection, N:M masks and the pruning sweep."""

from torch import Tensor

from .dispatch import run


def select_smallest(scores: Tensor, count: int) -> Tensor:
    """Mark exactly `count` smallest scores of each segment; equal scores go by lowest index, NaN counts as largest.

    scores   [segments, length] float32 or float64, any strides
    count    0 to length
    returns  [segments, length] bool, True = among the smallest

    A segment is whatever shares one threshold: a row, a column block flattened to one row, or a whole layer.
    Raises ValueError if shape, dtype or count do not fit.
    """
    return run("select_smallest", scores.contiguous(), count)  # type: ignore[no-any-return]


def nm_mask(scores: Tensor, keep: int, group: int) -> Tensor:
    """Mark the group - keep smallest scores in every group of neighbouring columns.

    scores   [rows, cols] float32 or float64, any strides, cols divisible by group
    returns  [rows, cols] bool, True = prune; keep=2, group=4 leaves 2 of every 4

    Raises ValueError if shape, dtype or pattern do not fit.
    """
    return run("nm_mask", scores.contiguous(), keep, group)  # type: ignore[no-any-return]


def sweep_block_(
    weight: Tensor, factor: Tensor, prune: Tensor | None = None, *, keep: int = 0, group: int = 0
) -> Tensor:
    """Prune one block column by column, each column's error absorbed by those after it (SparseGPT, Algorithm 1).

    Column j: e = weight[:, j] / factor[j, j] where pruned, else 0; weight[:, k] -= e * factor[j, k] for k > j;
    then the pruned weights become +0.0. What is pruned is given by `prune`, or chosen as keep:group when the sweep
    reaches a group, from the weights as they are then.

    weight   [rows, cols <= 128] float32 or float64, contiguous; changed in place
    factor   [cols, cols] same dtype, upper triangular: the block's part of U with inverse Hessian = U^T U
    prune    [rows, cols] bool, True = prune; None chooses keep:group inside the sweep
    returns  [rows] same dtype, sum of e^2: the block's share of tr(dW H dW^T)

    Raises ValueError if shapes, dtypes or pattern do not fit, or if weight is not contiguous.
    """
    if not weight.is_contiguous():
        raise ValueError(f"weight: expected contiguous rows, got strides {weight.stride()}. Call weight.contiguous().")
    mask = None if prune is None else prune.contiguous()
    return run("sweep_block_", weight, factor.contiguous(), mask, keep, group)  # type: ignore[no-any-return]
