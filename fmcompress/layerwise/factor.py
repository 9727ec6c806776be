"""The triangular factor of a damped Hessian: one Cholesky, no inverse."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import CalibrationError
from .cholesky import upper_cholesky

MAX_DAMPING = 1.0


@dataclass(frozen=True)
class Factor:
    """H + damping = R R^T with R upper triangular.

    upper    [cols, cols], R, zero below the diagonal; the inverse Hessian's factor U of the paper (inverse = U^T U)
             is R^-1
    dead     [cols] bool, inputs that never fired
    damping  share of the mean live diagonal that was added
    added    the amount that was added to each live diagonal entry
    """

    upper: Tensor
    dead: Tensor
    damping: float
    added: float


def all_finite(tensor: Tensor, at_once: int = 1 << 22) -> bool:
    """Whether no entry is inf or NaN: their sum would carry it.

    Where the sum is not finite it may also have overflowed: then the entries themselves are looked at, in parts.
    """
    if math.isfinite(tensor.sum()):
        return True
    return all(bool(torch.isfinite(part).all()) for part in tensor.reshape(-1).split(at_once))


def check_finite_hessian(hessian: Tensor, name: str) -> None:
    """Raise CalibrationError unless it is finite."""
    if not all_finite(hessian):
        raise CalibrationError(
            f"{name}: the Hessian is not finite. Look for inf or NaN activations, or calibrate in float32."
        )


def factor_hessian(hessian: Tensor, damping: float, name: str = "layer") -> Factor:
    """Factor a damped Hessian, raising the damping tenfold step by step where it does not suffice.

    hessian  [cols, cols] float32 or float64, symmetric; left as it is
    damping  share of the mean diagonal of the live columns to add to each, e.g. 0.01

    Dead columns get a diagonal so small that they are pruned first and cost nothing; their off-diagonal entries are
    zero already.
    Raises CalibrationError if the Hessian is not finite or if damping 1.0 does not make it positive definite.
    """
    diagonal = hessian.diagonal()
    dead = diagonal == 0
    mean = diagonal.sum() / (~dead).sum().clamp(min=1)
    check_finite_hessian(hessian, name)
    tried = damping
    while True:
        added = (tried * mean).to(hessian.dtype)
        damped = torch.where(dead, torch.where(mean > 0, 1e-12 * mean, 1.0).to(hessian.dtype), diagonal + added)
        upper = upper_cholesky(hessian, damped)
        if upper is not None:
            return Factor(upper, dead, tried, float(added))
        if tried >= MAX_DAMPING:
            raise CalibrationError(
                f"{name}: Hessian not positive definite at damping {tried:g}. "
                "Use more calibration tokens, or exclude the layer."
            )
        tried = min(MAX_DAMPING, max(10 * tried, 1e-4))
