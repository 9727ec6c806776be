"""The triangular factor of a damped Hessian: one Cholesky, no inverse."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import CalibrationError
from .damping import MAX_DAMPING, damped_diagonal, raised

FACTOR_COLS = 384  # columns of the Hessian that are factored at a time


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
    check_finite_hessian(hessian, name)
    tried = damping
    while True:
        diagonal, dead, added = damped_diagonal(hessian, tried)
        upper = _upper_cholesky(hessian, diagonal)
        if upper is not None:
            return Factor(upper, dead, tried, float(added))
        if tried >= MAX_DAMPING:
            raise indefinite(name, tried)
        tried = raised(tried)


def indefinite(name: str, damping: float) -> CalibrationError:
    """What is raised where no damping will do."""
    return CalibrationError(
        f"{name}: Hessian not positive definite at damping {damping:g}. "
        "Use more calibration tokens, or exclude the layer."
    )


def _upper_cholesky(symmetric: Tensor, diagonal: Tensor) -> Tensor | None:
    """R with R R^T = `symmetric` [cols, cols] with its diagonal replaced; None if it is not positive definite.

    R's inverse is the U that SparseGPT gets by inverting and factoring a second time. Block columns go from right to
    left, each first absorbing those to its right by one product, so that nearly all of the work is matrix products
    and nothing but R is as large as the Hessian.
    """
    cols = len(symmetric)
    upper = torch.zeros_like(symmetric)
    for begin in reversed(range(0, cols, FACTOR_COLS)):
        end = min(cols, begin + FACTOR_COLS)
        panel = symmetric[:end, begin:end].clone()
        panel[begin:].diagonal().copy_(diagonal[begin:end])
        if end < cols:
            panel.addmm_(upper[:end, end:], upper[begin:end, end:].mT, alpha=-1)
        # with rows and columns reversed, the usual lower factor becomes the upper one
        flipped, failed = torch.linalg.cholesky_ex(panel[begin:].flip(0, 1))
        if failed:
            return None
        triangle = flipped.flip(0, 1)
        upper[begin:end, begin:end] = triangle
        if begin > 0:
            upper[:begin, begin:end] = torch.linalg.solve_triangular(
                triangle.mT, panel[:begin], upper=False, left=False
            )
    return upper
