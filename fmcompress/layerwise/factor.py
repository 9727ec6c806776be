"""The triangular factor of a damped Hessian, or of a batch of them: one Cholesky, no inverse."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import CalibrationError
from .cholesky import factor_blocks, upper_cholesky
from .damping import MAX_DAMPING, damped_diagonal, raised


@dataclass(frozen=True)
class Factor:
    """H + damping = R R^T with R upper triangular.

    upper     [cols, cols], R, zero below the diagonal; the inverse Hessian's factor U of the paper (inverse = U^T U)
              is R^-1
    dead      [cols] bool, inputs that never fired
    damping   share of the mean live diagonal that was added
    added     the amount that was added to each live diagonal entry
    inverses  [blocks, 128, 128] as factor_blocks leaves them, or None where R was not made of such blocks
    """

    upper: Tensor
    dead: Tensor
    damping: float
    added: float
    inverses: Tensor | None = None


@dataclass(frozen=True)
class Factors:
    """A batch of factors: R, dead inputs and inverses with the batch in front, damping and amounts one a matrix."""

    upper: Tensor
    dead: Tensor
    damping: list[float]
    added: list[float]
    inverses: Tensor

    def __len__(self) -> int:
        return len(self.upper)

    def __getitem__(self, index: int) -> Factor:
        """One of them, as views."""
        return Factor(self.upper[index], self.dead[index], self.damping[index], self.added[index], self.inverses[index])


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
            upper, inverses, failed = factor_blocks(hessian, diagonal)
            amount = _amounts(added, failed)[0]
            if amount is not None:
                return Factor(upper, dead, damping, amount, inverses)
            check_finite_hessian(hessian, name)
        damping = next_damping(damping, name)


def factor_hessians(hessians: Tensor, damping: float, names: Sequence[str]) -> Factors:
    """The same for a batch, all together; those for which the damping does not suffice are tried again alone.

    hessians  [batch, cols, cols] float32 or float64, each symmetric; left as they are
    names     of the layers, one a matrix, for messages

    Raises CalibrationError as factor_hessian does, for the first matrix that cannot be factored.
    """
    diagonal, dead, added = damped_diagonal(hessians, damping)
    upper, inverses, failed = factor_blocks(hessians, diagonal)
    amounts = _amounts(added, failed)
    dampings = [damping] * len(amounts)
    again = [index for index, amount in enumerate(amounts) if amount is None]
    for index in again:
        check_finite_hessian(hessians[index], names[index])
    while again:
        damping = next_damping(damping, names[again[0]])
        some = hessians[again]
        diagonal, _, added = damped_diagonal(some, damping)
        upper[again], inverses[again], failed = factor_blocks(some, diagonal)
        for index, amount in zip(again, _amounts(added, failed), strict=True):
            amounts[index], dampings[index] = amount, damping
        again = [index for index in again if amounts[index] is None]
    return Factors(upper, dead, dampings, [amount for amount in amounts if amount is not None], inverses)


def _amounts(added: Tensor, failed: Tensor) -> list[float | None]:
    """What was added to each matrix, None where it failed: the one look at a GPU."""
    both = torch.stack([added.double(), failed.double()], -1).view(-1, 2).tolist()
    return [None if failure else amount for amount, failure in both]


def next_damping(damping: float, name: str) -> float:
    """The next damping; CalibrationError where there is none."""
    if damping >= MAX_DAMPING:
        raise CalibrationError(
            f"{name}: Hessian not positive definite at damping {damping:g}. "
            "Use more calibration tokens, or exclude the layer."
        )
    return raised(damping)
