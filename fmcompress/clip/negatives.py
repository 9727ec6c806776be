"""Nearest neighbours of many rows among many others, without the matrix of all similarities."""

from typing import Any

import numpy as np

from ..errors import ConfigError
from .vectors import Labels, Matrix, as_matrix

CHUNK = 8192  # rows that are looked at together
QUERIES = 512


def nearest(
    rows: Any, queries: Any, count: int, *, chunk_rows: int = CHUNK, chunk_queries: int = QUERIES
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The nearest rows of each query by cosine, nearest first, itself left out.

    rows     [n, dim] rows of length 1
    queries  numbers of the rows whose neighbours are wanted

    Returns [queries, min(count, n - 1)] numbers of rows. Holds chunk_queries x (chunk_rows + count) similarities at a
    time, never n x n. Raises ConfigError for a count below 1 or numbers of no row.
    """
    rows = as_matrix(rows, "embeddings")
    queries = np.asarray(queries, np.int64)
    if count < 1 or chunk_rows < 1 or chunk_queries < 1:
        raise ConfigError(f"nearest: expected at least 1 neighbour and 1 row a chunk, got {count} and {chunk_rows}.")
    if queries.ndim != 1 or (len(queries) and not 0 <= queries.min() <= queries.max() < len(rows)):
        raise ConfigError(f"queries: expected numbers of {len(rows)} rows.")
    count = min(count, len(rows) - 1)
    found = np.empty((len(queries), count), np.int64)
    for begin in range(0, len(queries) if count else 0, chunk_queries):
        part = slice(begin, begin + chunk_queries)
        found[part] = _nearest(rows, queries[part], count, chunk_rows)
    return found


def _nearest(rows: Matrix, queries: Labels, count: int, chunk_rows: int) -> Labels:
    best, which = np.empty((len(queries), 0), rows.dtype), np.empty((len(queries), 0), np.int64)
    for begin in range(0, len(rows), chunk_rows):
        near = rows[queries] @ rows[begin : begin + chunk_rows].T
        numbers = np.arange(begin, begin + near.shape[1])
        near[queries[:, None] == numbers] = -np.inf  # a row is no neighbour of its own
        best = np.concatenate([best, near], axis=1)
        which = np.concatenate([which, np.broadcast_to(numbers, near.shape)], axis=1)
        if best.shape[1] > count:
            kept = np.argpartition(-best, count - 1, axis=1)[:, :count]
            best, which = np.take_along_axis(best, kept, 1), np.take_along_axis(which, kept, 1)
    order = np.lexsort((which, -best), axis=1)
    return np.take_along_axis(which, order, 1)
