"""The triangular factor of a damped Hessian: one Cholesky, no inverse."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import CalibrationError
from .cholesky import factor_blocks, upper_cholesky
from .damping import MAX_DAMPING, damped_diagonal, raised


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
    zero already. A GPU is waited for once for each damping that is tried.
    Raises CalibrationError if the Hessian is not finite or if damping 1.0 does not make it positive definite.
    """
    on_cpu = hessian.device.type == "cpu"
    if on_cpu:  # what is not finite fails in factor_blocks, but not always in LAPACK
        check_finite_hessian(hessian, name)
    while True:
        diagonal, dead, added = damped_diagonal(hessian, damping)
        if on_cpu:
            upper = upper_cholesky(hessian, diagonal)
            if upper is not None:
                return Factor(upper, dead, damping, float(added))
        else:
            upper, _, failed = factor_blocks(hessian, diagonal)
            amount, failure = torch.stack([added.double(), failed.double()]).tolist()  # the one look at a GPU
            if not failure:
                return Factor(upper, dead, damping, amount)
            check_finite_hessian(hessian, name)
        damping = next_damping(damping, name)


def next_damping(damping: float, name: str) -> float:
    """The next damping; CalibrationError where there is none."""
    if damping >= MAX_DAMPING:
        raise CalibrationError(
            f"{name}: Hessian not positive definite at damping {damping:g}. "
            "Use more calibration tokens, or exclude the layer."
        )
    return raised(damping)
