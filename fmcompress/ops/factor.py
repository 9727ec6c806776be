"""The triangular factor of small blocks and its inverse."""

from torch import Tensor

from .dispatch import run


def factor_block(symmetric: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Factor each matrix as R R^T with R upper triangular, and invert R: the step inside a blocked Cholesky.

    symmetric  [n, n] or [batch, n, n] float32 or float64, 1 <= n <= 128, any strides; only its upper triangle is read
    returns    (upper, inverse, failed): R and R^-1, shaped like symmetric, contiguous, zeros below their diagonals;
               failed [] or [batch] int32, 1 where a matrix is not positive definite or not finite, else 0. R and R^-1
               of a matrix that failed are unspecified, those of the others are not touched by it

    R is the Cholesky factor of the matrix with rows and columns reversed. Roots and quotients are those of IEEE; two
    runs give the same bits. Nothing here waits for a GPU: look at `failed` once, at the end.
    Raises ValueError if shape or dtype do not fit.
    """
    return run("factor_block", symmetric.contiguous())  # type: ignore[no-any-return]
