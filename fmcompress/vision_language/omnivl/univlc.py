"""UniVLC: one contrastive loss of captioned and of labelled images and videos (Wang et al. 2022)."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor


class Keys(NamedTuple):
    """What embeddings are compared to: rows of length 1, and whose they are.

    visual, text  [keys, dim]
    labels        [keys] int64; equal ones belong together
    """

    visual: Tensor
    text: Tensor
    labels: Tensor


def univlc_loss(
    visual: Tensor,
    text: Tensor,
    labels: Tensor,
    *,
    keys: Keys | None = None,
    temperature: Tensor | float = 0.07,
    reduction: Literal["mean_pos", "sum_pos"] = "mean_pos",
) -> Tensor:
    """The mean of both directions of univlc_losses(), whose arguments and errors it has."""
    losses = univlc_losses(visual, text, labels, keys=keys, temperature=temperature, reduction=reduction)
    return (losses[0] + losses[1]) / 2


def univlc_losses(
    visual: Tensor,
    text: Tensor,
    labels: Tensor,
    *,
    keys: Keys | None = None,
    temperature: Tensor | float = 0.07,
    reduction: Literal["mean_pos", "sum_pos"] = "mean_pos",
) -> tuple[Tensor, Tensor]:
    """The losses of finding texts by images or videos, and these by texts; each the mean over the batch.

    Of row i from visual to text, over the keys P_i of its label: -mean_{k in P_i} log softmax_k(v_i . w_k / t).
    With a label for each row it is CLIP's InfoNCE.

    visual, text  [items, dim], rows of length 1
    labels        [items] int64: the class of labelled items, a number of their own for each captioned one
    keys          of a momentum encoder for this batch, with those of a memory bank behind; None: the batch itself
    temperature   above 0
    reduction     what is done over P_i. The paper does not say whether it divides by their number: "mean_pos" does, as
                  SupCon and UniCL do; "sum_pos" does not

    Raises ValueError for shapes that do not fit, or a row whose label no key has.
    """
    if keys is None:
        keys = Keys(visual, text, labels)
    _check(visual, text, labels, keys, reduction)
    same = labels[:, None] == keys.labels[None]
    if not bool(same.any(dim=1).all()):
        raise ValueError("keys: expected one at least of every label of the batch. Put the batch's own first.")
    positives = same.to(visual.dtype)
    if reduction == "mean_pos":
        positives = positives / positives.sum(dim=1, keepdim=True)
    return tuple(  # type: ignore[return-value]
        -((rows @ to.T / temperature).log_softmax(dim=1) * positives).sum(dim=1).mean()
        for rows, to in ((visual, keys.text), (text, keys.visual))
    )


def _check(visual: Tensor, text: Tensor, labels: Tensor, keys: Keys, reduction: str) -> None:
    if reduction not in ("mean_pos", "sum_pos"):
        raise ValueError(f"reduction: expected mean_pos or sum_pos, got {reduction!r}.")
    if visual.dim() != 2 or text.shape != visual.shape or labels.shape != visual.shape[:1]:
        raise ValueError(
            f"visual, text, labels: expected [items, dim] twice and [items], got {list(visual.shape)}, "
            f"{list(text.shape)}, {list(labels.shape)}."
        )
    many = len(keys.labels)
    if keys.visual.shape != (many, visual.shape[1]) or keys.text.shape != keys.visual.shape:
        raise ValueError(
            f"keys: expected [{many}, {visual.shape[1]}] twice, got {list(keys.visual.shape)}, {list(keys.text.shape)}."
        )
    if labels.dtype != torch.int64 or keys.labels.dtype != torch.int64:
        raise ValueError(f"labels: expected int64, got {labels.dtype} and {keys.labels.dtype} of keys.")
