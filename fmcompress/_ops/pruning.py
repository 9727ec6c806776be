"""The contracts of selection, N:M masks, the pruning sweep and a step of the ADMM search."""

import math
from typing import Any

import torch
from torch import Tensor

from .checks import check_beside, check_floating, check_matrices, check_matrix, require

MAX_BLOCK_COLS = 128  # a CUDA thread quad holds one row of a block in registers

# prune[s, i] = (number of j with (scores[s, j], j) < (scores[s, i], i)) < count; NaN counts as the largest score; with
# |scores| in place of scores if by_magnitude
torch.library.define("fmcompress::select_smallest", "(Tensor scores, int count, bool by_magnitude=False) -> Tensor")


def check_select_smallest(scores: Tensor, count: int, by_magnitude: bool = False) -> None:
    """Raise ValueError unless the arguments fit the contract."""
    check_matrix("scores", scores)
    check_floating("scores", scores)
    require(
        0 <= count <= scores.shape[1],
        lambda: f"count: expected 0 to {scores.shape[1]}, the length of a segment, got {count}. Lower it.",
    )


@torch.library.register_fake("fmcompress::select_smallest")
def _(scores: Tensor, count: int, by_magnitude: bool = False) -> Tensor:
    check_select_smallest(scores, count)
    return scores.new_empty(scores.shape, dtype=torch.bool)


# in every group of `group` neighbours of a row, the (group - keep) smallest scores are pruned, ties by lowest index
torch.library.define("fmcompress::nm_mask", "(Tensor scores, int keep, int group, bool by_magnitude=False) -> Tensor")


def check_nm(cols: int, keep: int, group: int) -> None:
    """Raise ValueError unless keep:group is a pattern that divides the columns."""
    require(
        1 <= keep <= group,
        lambda: f"pattern {keep}:{group}: expected 1 <= keep <= group. Write 2:4 to keep 2 of every 4.",
    )
    require(
        cols % group == 0,
        lambda: f"pattern {keep}:{group}: expected columns divisible by {group}, got {cols}. Choose another pattern.",
    )


def check_nm_mask(scores: Tensor, keep: int, group: int, by_magnitude: bool = False) -> None:
    """Raise ValueError unless the arguments fit the contract."""
    check_matrix("scores", scores)
    check_floating("scores", scores)
    check_nm(scores.shape[1], keep, group)


@torch.library.register_fake("fmcompress::nm_mask")
def _(scores: Tensor, keep: int, group: int, by_magnitude: bool = False) -> Tensor:
    check_nm_mask(scores, keep, group)
    return scores.new_empty(scores.shape, dtype=torch.bool)


# for column j = 0, 1, ...:  e[r] = weight[r, j] / factor[j, j] where pruned, else 0
#                            weight[r, k] -= e[r] * factor[j, k]  for k > j;  weight[r, j] = 0 where pruned
#                            loss[r] += e[r]^2                                 (SparseGPT, Algorithm 1, inner loop)
# pruned: prune[r, j], or, where prune is None, the (group - keep) smallest (weight[r, k] / factor[k, k])^2 of each
# group of columns at the moment when the sweep reaches the group's first column.
# With a batch in front, [batch, rows, cols], [batch, cols, cols] and [batch, rows], each matrix is swept by itself.
torch.library.define(
    "fmcompress::sweep_block_", "(Tensor(a!) weight, Tensor factor, Tensor? prune, int keep, int group) -> Tensor"
)


def check_sweep_block_(weight: Tensor, factor: Tensor, prune: Tensor | None, keep: int, group: int) -> None:
    """Raise ValueError unless the arguments fit the contract."""
    check_matrices("weight", weight)
    check_floating("weight", weight)
    cols = weight.shape[-1]
    expected = (*weight.shape[:-2], cols, cols)
    require(
        cols <= MAX_BLOCK_COLS,
        lambda: f"weight: expected at most {MAX_BLOCK_COLS} columns, got {cols}. Sweep narrower blocks.",
    )
    require(
        tuple(factor.shape) == expected and factor.dtype == weight.dtype,
        lambda: (
            f"factor: expected {list(expected)} {weight.dtype}, got {list(factor.shape)} {factor.dtype}. "
            "Pass the block's own factor."
        ),
    )
    if prune is None:
        check_nm(cols, keep, group)
        return
    require(
        prune.shape == weight.shape and prune.dtype == torch.bool,
        lambda: f"prune: expected {list(weight.shape)} bool, got {list(prune.shape)} {prune.dtype}. Pass the block's.",
    )


@torch.library.register_fake("fmcompress::sweep_block_")
def _(weight: Tensor, factor: Tensor, prune: Tensor | None, keep: int, group: int) -> Tensor:
    check_sweep_block_(weight, factor, prune, keep, group)
    return weight.new_empty(weight.shape[:-1])


# v = x + dual;  z = v where kept, else 0;  kept: the largest |v|, as nm_mask and select_smallest leave them
# dual = (v - z) * (penalty / next_penalty);  x = target + (z - dual) * next_penalty;  each operation rounded on its own
# changed = how many of kept are not what they were
torch.library.define(
    "fmcompress::admm_step_",
    "(Tensor(a!) x, Tensor(b!) dual, Tensor(c!) kept, Tensor target, float penalty, float next_penalty, "
    "int prune, int keep, int group, bool by_row) -> Tensor",
)


def check_admm_step_(
    x: Tensor,
    dual: Tensor,
    kept: Tensor,
    target: Tensor,
    penalty: float,
    next_penalty: float,
    prune: int,
    keep: int,
    group: int,
    by_row: bool,
) -> None:
    """Raise ValueError unless the arguments fit the contract."""
    check_matrix("x", x)
    check_floating("x", x)
    check_beside("dual", dual, x, x.dtype)
    check_beside("kept", kept, x, torch.bool)
    check_beside("target", target, x, x.dtype)
    require(
        0 < penalty < math.inf and 0 < next_penalty < math.inf,
        lambda: f"penalty: expected positive numbers, got {penalty} and {next_penalty}. Start above 0 and let it grow.",
    )
    if group != 0:
        check_nm(x.shape[1], keep, group)
        return
    length = x.shape[1] if by_row else x.numel()
    require(
        0 <= prune <= length,
        lambda: f"prune: expected 0 to {length}, the length of a segment, got {prune}. Lower it.",
    )


@torch.library.register_fake("fmcompress::admm_step_")
def _(x: Tensor, *rest: Any) -> Tensor:
    check_admm_step_(x, *rest)
    return x.new_empty((), dtype=torch.int64)
