"""The triangular factor of a damped Hessian: one Cholesky, no inverse."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import CalibrationError

MAX_DAMPING = 1.0


@dataclass(frozen=True)
class Factor:
    """H + damping = R R^T with R upper triangular.

    upper    [cols, cols], R; the inverse Hessian's factor U of the paper (inverse = U^T U) is R^-1
    dead     [cols] bool, inputs that never fired
    damping  share of the mean live diagonal that was added
    added    the amount that was added to each live diagonal entry
    """

    upper: Tensor
    dead: Tensor
    damping: float
    added: float


def all_finite(tensor: Tensor, at_once: int = 1 << 22) -> bool:
    """Whether no entry is inf or NaN: their float64 sum would carry it. Works in parts, since a sum in another dtype
    may convert all of what it is given first."""
    return all(math.isfinite(part.sum(dtype=torch.float64)) for part in tensor.reshape(-1).split(at_once))


def flip_(matrix: Tensor, rows_at_once: int = 1024) -> Tensor:
    """Reverse the order of rows and of columns of a square matrix in place, with a small buffer. Returns it."""
    size = len(matrix)
    half = size // 2
    for begin in range(0, half, rows_at_once):
        end = min(half, begin + rows_at_once)
        top, bottom = matrix[begin:end], matrix[size - end : size - begin]
        flipped = top.flip(0, 1)
        top.copy_(bottom.flip(0, 1))
        bottom.copy_(flipped)
    if size % 2:
        matrix[half] = matrix[half].flip(0)
    return matrix


def factor_hessian(hessian: Tensor, damping: float, name: str = "layer") -> Factor:
    """Factor a damped Hessian, raising the damping tenfold step by step where it does not suffice.

    hessian  [cols, cols] float32 or float64, symmetric; left as it is
    damping  share of the mean diagonal of the live columns to add to each, e.g. 0.01

    Dead columns get a diagonal so small that they are pruned first and cost nothing; their off-diagonal entries are
    zero already. Reversing rows and columns turns the usual Cholesky into the upper factor of R R^T, whose inverse is
    the U that SparseGPT gets by inverting and factoring a second time.
    Raises CalibrationError if the Hessian is not finite or if damping 1.0 does not make it positive definite.
    """
    diagonal = hessian.diagonal()
    dead = diagonal == 0
    mean = diagonal.sum() / (~dead).sum().clamp(min=1)
    if not all_finite(hessian):
        raise CalibrationError(
            f"{name}: the Hessian is not finite. Look for inf or NaN activations, or calibrate in float32."
        )
    tried = damping
    while True:
        damped = hessian.clone()
        added = (tried * mean).to(hessian.dtype)
        damped.diagonal().add_(added)
        damped.diagonal()[dead] = torch.where(mean > 0, 1e-12 * mean, 1.0).to(hessian.dtype)
        # LAPACK writes column-major, so its upper factor, seen transposed, is a row-major lower one
        factor, failed = torch.linalg.cholesky_ex(flip_(damped), upper=True)
        del damped
        if not failed:
            return Factor(flip_(factor.mT), dead, tried, float(added))
        if tried >= MAX_DAMPING:
            raise CalibrationError(
                f"{name}: Hessian not positive definite at damping {tried:g}. "
                "Use more calibration tokens, or exclude the layer."
            )
        tried = min(MAX_DAMPING, max(10 * tried, 1e-4))
