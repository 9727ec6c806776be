"""The diagonal that a Hessian is factored with: damped where inputs fired, next to nothing where none did."""

import torch
from torch import Tensor

MAX_DAMPING = 1.0
DEAD_SHARE = 1e-12  # of the mean live diagonal: pruned first, and at no cost


def damped_diagonal(hessian: Tensor, damping: float) -> tuple[Tensor, Tensor, Tensor]:
    """The damped diagonal of one Hessian or of each in a batch; nothing waits for a GPU.

    hessian  [cols, cols] or [batch, cols, cols] float32 or float64
    damping  share of the mean diagonal of the live columns to add to each
    returns  (diagonal, dead, added): what to factor with, like hessian.diagonal(); whether an input never fired, bool
             of that shape; what was added to the live ones, [] or [batch]
    """
    diagonal = hessian.diagonal(dim1=-2, dim2=-1)
    dead = diagonal == 0
    mean = diagonal.sum(-1) / (diagonal != 0).sum(-1).clamp(min=1)
    added = (damping * mean).to(hessian.dtype)
    stand_in = torch.where(mean > 0, DEAD_SHARE * mean, 1.0).to(hessian.dtype)
    return torch.where(dead, stand_in.unsqueeze(-1), diagonal + added.unsqueeze(-1)), dead, added


def raised(damping: float) -> float:
    """The next damping to try: tenfold, at most all of the mean diagonal."""
    return min(MAX_DAMPING, max(10 * damping, 1e-4))
