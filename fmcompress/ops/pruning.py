"""Selection, N:M masks, the pruning sweep and a step of the ADMM search."""

from torch import Tensor

from .dispatch import run


def select_smallest(scores: Tensor, count: int, *, by_magnitude: bool = False) -> Tensor:
    """Mark exactly `count` smallest scores of each segment; equal scores go by lowest index, NaN counts as largest.

    scores        [segments, length] float32 or float64, any strides
    count         0 to length
    by_magnitude  |scores| are compared; where the back-end can, without a pass over them of its own
    returns       [segments, length] bool, True = among the smallest

    A segment is whatever shares one threshold: a row, a column block flattened to one row, or a whole layer.
    Raises ValueError if shape, dtype or count do not fit.
    """
    return run("select_smallest", scores.contiguous(), count, by_magnitude)  # type: ignore[no-any-return]


def nm_mask(scores: Tensor, keep: int, group: int, *, by_magnitude: bool = False) -> Tensor:
    """Mark the group - keep smallest scores in every group of neighbouring columns.

    scores        [rows, cols] float32 or float64, any strides, cols divisible by group
    by_magnitude  |scores| are compared, as in select_smallest()
    returns       [rows, cols] bool, True = prune; keep=2, group=4 leaves 2 of every 4

    Raises ValueError if shape, dtype or pattern do not fit.
    """
    return run("nm_mask", scores.contiguous(), keep, group, by_magnitude)  # type: ignore[no-any-return]


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

    All of them may have a batch in front, [batch, rows, cols], [batch, cols, cols] and [batch, rows]: each matrix is
    swept with its own factor, to the same bits as by itself, and all by one call.

    Raises ValueError if shapes, dtypes or pattern do not fit, or if weight is not contiguous.
    """
    if not weight.is_contiguous():
        raise ValueError(f"weight: expected contiguous rows, got strides {weight.stride()}. Call weight.contiguous().")
    mask = None if prune is None else prune.contiguous()
    return run("sweep_block_", weight, factor.contiguous(), mask, keep, group)  # type: ignore[no-any-return]


def admm_step_(
    x: Tensor,
    dual: Tensor,
    kept: Tensor,
    target: Tensor,
    penalty: float,
    next_penalty: float,
    *,
    prune: int = 0,
    keep: int = 0,
    group: int = 0,
    by_row: bool = False,
) -> Tensor:
    """One step of the ADMM search from one ridge solution to the right-hand side of the next, in place.

    With V = x + dual and Z = V where the new support keeps it, else 0 (Boyd et al. 2011, section 3.1.1, scaled form):
    dual = (V - Z) * (penalty / next_penalty), since a scaled dual shrinks where the penalty grows;
    x = target + next_penalty * (Z - dual). Each operation is rounded on its own: all back-ends give the same bits.

    x             [rows, cols] float32 or float64, contiguous: the ridge solution; becomes the next right-hand side
    dual          [rows, cols] same dtype, contiguous: the scaled dual; changed in place
    kept          [rows, cols] bool, contiguous: the support of the step before; becomes that of this one
    target        [rows, cols] same dtype, any strides; not x itself
    penalty       of this step, next_penalty of the next, both positive
    keep, group   of every `group` neighbours of a row the `keep` largest |V| stay, as in nm_mask; prune and by_row are
                  then not looked at
    prune         where group is 0, so many of the smallest |V| go: of the whole matrix, or of every row if by_row; as
                  in select_smallest the first of equals goes
    returns       [] int64 on the same device, how many entries of kept changed; nothing here waits for a GPU

    NaN counts as the largest. Where NaN or an infinity is kept, dual and x become NaN: look once, at the end.
    Raises ValueError if shapes, dtypes, devices or numbers do not fit, or if what changes is not contiguous.
    """
    for name, tensor in (("x", x), ("dual", dual), ("kept", kept)):
        if not tensor.is_contiguous():
            raise ValueError(
                f"{name}: expected contiguous rows, got strides {tensor.stride()}. Call {name}.contiguous()."
            )
    rest = (penalty, next_penalty, prune, keep, group, by_row)
    return run("admm_step_", x, dual, kept, target.contiguous(), *rest)  # type: ignore[no-any-return]
