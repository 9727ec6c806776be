"""The loss of contrastive adapters: same-class rows nearer than rows of other classes (Zhang and Re 2022)."""

import torch
from torch import Tensor


def contrastive_loss(
    anchors: Tensor,
    positives: Tensor,
    negatives: Tensor,
    temperature: float = 0.1,
    *,
    positive_mask: Tensor | None = None,
    negative_mask: Tensor | None = None,
) -> Tensor:
    """Of each anchor, the mean over its positives p of -log(e^(s(a,p)/t) / (e^(s(a,p)/t) + sum_n e^(s(a,n)/t))).

    anchors    [anchors, dim] of any length; s is the cosine
    positives  [anchors, p, dim], negatives [anchors, n, dim]
    masks      [anchors, p] and [anchors, n] bool: which of them count; all without

    Returns [anchors]; 0 where no negative counts. Positives are not in each other's denominators.
    """
    normalize = torch.nn.functional.normalize
    near, far = (
        torch.einsum("ad,akd->ak", normalize(anchors, dim=-1), normalize(x, dim=-1)) for x in (positives, negatives)
    )
    return loss_of_cosines(near, far, temperature, positive_mask=positive_mask, negative_mask=negative_mask)


def loss_of_cosines(
    positive: Tensor,
    negative: Tensor,
    temperature: float,
    *,
    positive_mask: Tensor | None = None,
    negative_mask: Tensor | None = None,
) -> Tensor:
    """contrastive_loss of cosines [anchors, p] and [anchors, n]: no exponential is taken that could overflow."""
    positive, negative = positive / temperature, negative / temperature
    if negative_mask is not None:
        negative = negative.masked_fill(~negative_mask, torch.finfo(negative.dtype).min / 4)
    losses = torch.nn.functional.softplus(torch.logsumexp(negative, dim=1, keepdim=True) - positive)
    if positive_mask is None:
        return losses.mean(dim=1)
    return (losses * positive_mask).sum(dim=1) / positive_mask.sum(dim=1).clamp(min=1)
