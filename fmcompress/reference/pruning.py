"""Selection, N:M masks, the pruning sweep and a step of the ADMM search in plain PyTorch."""

import torch
from torch import Tensor


def select_smallest(scores: Tensor, count: int, by_magnitude: bool = False) -> Tensor:
    """See fmcompress.ops.select_smallest."""
    compared = scores.abs() if by_magnitude else scores
    order = torch.sort(compared, dim=1, stable=True).indices  # stable: equal scores stay in index order
    mask = torch.zeros_like(scores, dtype=torch.bool)
    return mask.scatter_(1, order[:, :count], True)


def nm_mask(scores: Tensor, keep: int, group: int, by_magnitude: bool = False) -> Tensor:
    """See fmcompress.ops.nm_mask."""
    groups = scores.reshape(-1, group)
    return select_smallest(groups, group - keep, by_magnitude).view(scores.shape)


def sweep_block_(weight: Tensor, factor: Tensor, prune: Tensor | None, keep: int, group: int) -> Tensor:
    """See fmcompress.ops.sweep_block_."""
    diagonal = factor.diagonal(dim1=-2, dim2=-1)[..., None, :]  # the same for every row
    chosen = torch.zeros_like(weight, dtype=torch.bool) if prune is None else prune
    loss = weight.new_zeros(weight.shape[:-1])
    for j in range(weight.shape[-1]):
        if prune is None and j % group == 0:
            members = slice(j, j + group)
            chosen[..., members] = nm_mask((weight[..., members] / diagonal[..., members]) ** 2, keep, group)
        error = torch.where(chosen[..., j], weight[..., j] / diagonal[..., j], 0.0)
        weight[..., j + 1 :] -= error[..., None] * factor[..., j, None, j + 1 :]
        weight[..., j].masked_fill_(chosen[..., j], 0.0)
        loss += error**2
    return loss


def admm_step_(
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
) -> Tensor:
    """See fmcompress.ops.admm_step_."""
    value = x + dual
    if group:
        pruned = nm_mask(value, keep, group, by_magnitude=True)
    else:
        pruned = select_smallest(value if by_row else value.view(1, -1), prune, by_magnitude=True).view(x.shape)
    changed = (kept == pruned).sum()
    kept.copy_(~pruned)
    projected = torch.where(pruned, 0.0, value)
    dual.copy_((value - projected) * (penalty / next_penalty))
    x.copy_(target + (projected - dual) * next_penalty)
    return changed
