"""A change of few directions to many rows, in one pass over memory."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from .vectors import Matrix, as_matrix

CHUNK_BYTES = 1 << 20  # of rows that stay in the cache from one product to the next
LOST = 32  # roundings: a shorter result of a row of length 1 is nothing but noise


def low_rank_rows(
    rows: Any, read: Matrix, write: Matrix, *, out: Matrix | None = None
) -> tuple[Matrix, NDArray[np.bool_]]:
    """rows + (rows @ read.T) @ write, each row scaled to length 1; a row of which nothing is left stays as it is.

    rows         [n, dim] float32 or float64, rows of length 1
    read, write  [k, dim] of any float dtype
    out          [n, dim] like rows, written; may be `rows` themselves. Its contents are lost if this raises

    Returns out, and which rows stayed [n]. Raises ConfigError for what as_matrix refuses, and for another out.
    """
    rows = as_matrix(rows, "embeddings", read.shape[1])
    if out is None:
        out = np.empty_like(rows)
    if not isinstance(out, np.ndarray) or out.shape != rows.shape or out.dtype != rows.dtype:
        raise ConfigError(f"out: expected a matrix {list(rows.shape)} of {rows.dtype}, as the embeddings are.")
    read, write = np.ascontiguousarray(read.T, rows.dtype), np.ascontiguousarray(write, rows.dtype)
    stayed = np.empty(len(rows), bool)
    step = max(1, CHUNK_BYTES // (rows.shape[1] * rows.itemsize))
    for begin in range(0, len(rows), step):
        part = slice(begin, begin + step)
        changed = rows[part] + (rows[part] @ read) @ write
        lengths = np.sqrt(np.einsum("ij,ij->i", changed, changed))
        stayed[part] = lengths <= LOST * np.finfo(rows.dtype).eps
        np.divide(changed, np.where(stayed[part], 1, lengths)[:, None], out=changed)
        changed[stayed[part]] = rows[part][stayed[part]]
        out[part] = changed
    return out, stayed
