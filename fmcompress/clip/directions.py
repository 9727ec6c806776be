"""Directions in the space of embeddings, and the spans of them."""

from typing import Any

import numpy as np

from ..errors import ConfigError
from .vectors import Matrix, as_matrix, normalised

SAME = 1e-5  # two texts whose embeddings are nearer have no direction between them but rounding


def as_directions(directions: Any, what: str, dim: int) -> Matrix:
    """[directions, dim] float64, of any length but 0; None is none. Raises ConfigError for anything else."""
    if directions is None:
        return np.empty((0, dim))
    rows = as_matrix(directions, what, dim, unit=False).astype(np.float64)
    empty = ~rows.any(axis=1)
    if empty.any():
        raise ConfigError(f"{what}: direction {int(empty.argmax())} has length 0. Leave it out.")
    return rows


def between(first: Any, second: Any, what: str = "insights") -> Matrix:
    """[pairs, dim] the directions from the second to the first text's embedding of each pair, first - second.

    Raises ConfigError if the shapes differ or a pair's embeddings are the same.
    """
    first = as_matrix(first, what, unit=False)
    second = as_matrix(second, what, first.shape[1], unit=False)
    if len(first) != len(second):
        raise ConfigError(f"{what}: expected two texts each, got {len(first)} first and {len(second)} second ones.")
    rows = first.astype(np.float64) - second
    near = np.linalg.norm(rows, axis=1) <= SAME * np.linalg.norm(first, axis=1)
    if near.any():
        raise ConfigError(f"{what}: both texts of pair {int(near.argmax())} have the same embedding. Leave it out.")
    return rows


def span(directions: Matrix, rank_tol: float) -> Matrix:
    """[rank, dim] an orthonormal basis of what the directions [n, dim] float64 span.

    A QR factorisation without a look at the rank, as published code has it, would add a direction of rounding noise
    for each one that depends on others.
    """
    if not 0 < rank_tol < 1:
        raise ConfigError(f"rank_tol: expected a number between 0 and 1, got {rank_tol}.")
    if not len(directions):
        return directions
    _, values, basis = np.linalg.svd(normalised(directions), full_matrices=False)
    return np.ascontiguousarray(basis[values > rank_tol * values[0]])


def without(rows: Matrix, basis: Matrix) -> Matrix:
    """The rows [n, dim] without what lies in the span of the orthonormal basis [rank, dim]; of any length then."""
    return rows - (rows @ basis.T) @ basis


def debias_text(text: Any, spurious: Any, alike: tuple[Any, Any] | None = None, *, strength: float = 1000.0) -> Matrix:
    """Class embeddings that do not see what is spurious (Chuang et al. 2023): images stay as they are.

    text      [classes, dim] rows of length 1
    spurious  [texts, dim] embeddings of texts that name spurious attributes alone, such as "a photo of a forest"
    alike     ([pairs, dim], [pairs, dim]) texts that should become equal, such as a bird on land and on water
    strength  how much: the paper's lambda

    P = P0 (strength M + I)^-1, where P0 projects off the span of `spurious` and M is the mean of (a - b)(a - b)^T.
    Returns [classes, dim] rows of length 1, in the dtype of text. Raises ConfigError for widths that differ, and for
    a class of which nothing is left.
    """
    text = as_matrix(text, "text")
    dim = text.shape[1]
    if not strength >= 0:
        raise ConfigError(f"strength: expected a number of at least 0, got {strength}.")
    solved = text.astype(np.float64)
    if alike is not None:
        apart = between(*alike, what="alike")
        squares = strength / len(apart) * apart.T @ apart if len(apart) else np.zeros((dim, dim))
        solved = np.linalg.solve(squares + np.eye(dim), solved.T).T
    left = without(solved, span(as_directions(spurious, "spurious", dim), 1e-5))
    lost = np.linalg.norm(left, axis=1) < SAME * np.linalg.norm(solved, axis=1)
    if lost.any():
        raise ConfigError(f"text: nothing is left of class {int(lost.argmax())}: it lies in the span of `spurious`.")
    return normalised(left).astype(text.dtype)
