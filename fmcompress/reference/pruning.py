"""Selection, N:M masks, the pruning sweep and a step of the ADMM search in plain PyTorch."""

import torch
from torch import Tensor


def select_smallest(scores: Tensor, count: int) -> Tensor:
    """See fmcompress.ops.select_smallest."""
    order = torch.sort(scores, dim=1, stable=True).indices  # stable: equal scores stay in index order
    mask = torch.zeros_like(scores, dtype=torch.bool)
    return mask.scatter_(1, order[:, :count], True)


def nm_mask(scores: Tensor, keep: int, group: int) -> Tensor:
    """See fmcompress.ops.nm_mask."""
    groups = scores.reshape(-1, group)
    return select_smallest(groups, group - keep).view(scores.shape)


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
    scores = value.abs()
    if group:
        pruned = nm_mask(scores, keep, group)
    else:
        pruned = select_smallest(scores if by_row else scores.view(1, -1), prune).view(x.shape)
    changed = (kept == pruned).sum()
    kept.copy_(~pruned)
    projected = torch.where(pruned, 0.0, value)
    dual.copy_((value - projected) * (penalty / next_penalty))
    x.copy_(target + (projected - dual) * next_penalty)
    return changed
