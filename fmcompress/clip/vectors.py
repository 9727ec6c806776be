"""Matrices of embeddings: one row an item, every row of length 1."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError

Matrix = NDArray[Any]  # [rows, dim] float32 or float64
Labels = NDArray[np.int64]  # [rows]
UNIT = 1e-3  # a row's length may be off 1 by so much: float16 that was stored after normalising is within


def normalised(vectors: Matrix) -> Matrix:
    """A copy whose rows have length 1; rows of zeros stay zeros.

    vectors  [rows, dim]
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths == 0, 1, lengths)


def as_matrix(vectors: Any, what: str, dim: int | None = None, *, unit: bool = True) -> Matrix:
    """The vectors as a matrix [rows, dim], float32 or float64 as they are; float16 becomes float32. Copies only then.

    what  names them in errors
    dim   the number of columns that is expected
    unit  whether every row must have length 1

    Raises ConfigError for another shape, kind or width, for NaN and infinities, and for rows of other lengths.
    """
    matrix = as_shape(vectors, what, dim)
    check_lengths(squared_lengths(matrix), what, unit=unit)
    return matrix


def as_shape(vectors: Any, what: str, dim: int | None = None) -> Matrix:
    """As as_matrix does it, of which no number is looked at."""
    matrix = np.asarray(vectors)
    if matrix.dtype == np.float16:
        matrix = matrix.astype(np.float32)
    if matrix.ndim != 2 or matrix.dtype not in (np.float32, np.float64):
        raise ConfigError(
            f"{what}: expected a matrix [rows, dim] of floats, got {list(matrix.shape)} of {matrix.dtype}. "
            "Give one row an item."
        )
    if dim is not None and matrix.shape[1] != dim:
        raise ConfigError(f"{what}: expected {dim} columns, got {matrix.shape[1]}. Take both matrices from one model.")
    return matrix


def squared_lengths(matrix: Matrix) -> Matrix:
    """[rows], in one pass without a temporary matrix."""
    return np.einsum("ij,ij->i", matrix, matrix)


def check_lengths(squared: Matrix, what: str, *, unit: bool = True) -> None:
    """ConfigError, as of as_matrix, for rows of such squared lengths."""
    lengths = np.sqrt(squared)
    _refuse(
        ~np.isfinite(lengths), f"{what}: expected finite numbers, got NaN, infinity or overflow", "Embed them again"
    )
    if unit:
        _refuse(
            abs(lengths - 1) > UNIT,
            f"{what}: expected rows of length 1",
            "Normalise them: fmcompress.clip.normalised, or --normalise",
        )


def as_labels(labels: Any, what: str, rows: int, classes: int) -> Labels:
    """The labels as int64 [rows], each in [0, classes). Raises ConfigError for anything else."""
    found = np.asarray(labels)
    if found.shape != (rows,) or not np.issubdtype(found.dtype, np.integer):
        raise ConfigError(
            f"{what}: expected {rows} whole numbers, got {list(found.shape)} of {found.dtype}. Give one for each row."
        )
    wrong = (found < 0) | (found >= classes)
    _refuse(wrong, f"{what}: expected numbers of {classes} classes, 0 to {classes - 1}", "Number them from 0")
    return found.astype(np.int64, copy=False)


def _refuse(wrong: NDArray[np.bool_], told: str, remedy: str) -> None:
    """ConfigError if any row is wrong, with how many and which is the first."""
    if wrong.any():
        first = int(wrong.argmax())
        raise ConfigError(f"{told}, in {int(wrong.sum())} of {len(wrong)} rows (the first is {first}). {remedy}.")
