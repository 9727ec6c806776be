"""How few directions a matrix has: its rank at a share of its energy, and its best factors of a given rank.

Small matrices are decomposed exactly. Of larger ones a randomized range finder (Halko, Martinsson, Tropp 2011) looks
at a subspace only: what it finds there is never more energy than there is, so that a rank told is never too small.
"""

import torch
from torch import Tensor

from .numbers import pieces, sum_of_squares

EXACT_COLS = 512  # of the smaller side, up to which everything is decomposed
MORE = 8  # directions looked at beyond those that are asked for
POWERS = 2  # passes over the matrix that sharpen the subspace


def rank_at(matrix: Tensor, energy: float, most: int = 64) -> tuple[int | None, float]:
    """(r, share): the least r such that r directions hold a share `energy` of the sum of squares, at least 1.

    matrix   [rows, cols] float32, finite
    most     a rank above this of a large matrix is not looked for: then None, and the share that so many hold
    returns  of a large matrix r may be more than the least one, never less
    """
    total = sum(sum_of_squares(piece) for (piece,) in pieces(matrix))
    if not total:
        return 0, 1.0
    squares = _squares(matrix if min(matrix.shape) <= EXACT_COLS else _inside(matrix, most + MORE)[1])
    shares = squares.cumsum(0) / total
    enough = (shares >= energy).nonzero()
    if not len(enough) and min(matrix.shape) <= EXACT_COLS:  # rounding, at an energy of 1
        return len(shares), 1.0
    if not len(enough) or (int(enough[0]) >= most and min(matrix.shape) > EXACT_COLS):
        return None, float(shares[min(most, len(shares)) - 1])
    return int(enough[0]) + 1, float(shares[int(enough[0])])


def factors(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """left [rows, rank] and right [rank, cols], float32, whose product is near the best of that rank.

    rank  at most the smaller side. Singular values are shared evenly between the two.
    """
    if min(matrix.shape) <= EXACT_COLS or rank + MORE >= min(matrix.shape):
        left, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    else:
        basis, small = _inside(matrix, rank + MORE)
        inner, values, right = torch.linalg.svd(small.double(), full_matrices=False)
        left = basis.double() @ inner
    roots = values[:rank].sqrt()
    return (left[:, :rank] * roots).float(), (roots[:, None] * right[:rank]).float()


def _squares(matrix: Tensor) -> Tensor:
    """The squared singular values, falling, float64: the eigenvalues of the smaller side's Gram matrix."""
    wide = (matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T).double()
    return torch.linalg.eigvalsh(wide @ wide.T).flip(0).clamp_(min=0.0)


def _inside(matrix: Tensor, directions: int) -> tuple[Tensor, Tensor]:
    """(basis [rows, directions] with orthonormal columns, basis.T @ matrix): the subspace that holds most of it."""
    generator = torch.Generator().manual_seed(0)
    probes = torch.randn(matrix.shape[1], min(directions, *matrix.shape), generator=generator)
    basis = torch.linalg.qr(matrix @ probes)[0]
    for _ in range(POWERS):
        basis = torch.linalg.qr(matrix @ torch.linalg.qr(matrix.T @ basis)[0])[0]
    return basis, basis.T @ matrix
