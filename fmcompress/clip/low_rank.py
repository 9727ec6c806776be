"""A change of few directions to many rows, in one pass over memory."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from .vectors import UNIT, Matrix, as_matrix

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
    import torch

    from .. import ops
    from .tensors import borrowed

    given = np.asarray(rows)
    if given.ndim != 2 or given.shape[1] != read.shape[1] or given.dtype not in (np.float32, np.float64):
        given = as_matrix(given, "embeddings", read.shape[1])  # refuses, or makes float32 of float16
    matrix = np.ascontiguousarray(given)
    source = borrowed(matrix)
    if out is None:
        out = torch.empty(matrix.shape, dtype=source.dtype).numpy()  # torch aligns to vectors
    fits = isinstance(out, np.ndarray) and out.flags.c_contiguous and out.flags.writeable
    if not fits or out.shape != matrix.shape or out.dtype != matrix.dtype:
        raise ConfigError(f"out: expected a contiguous matrix {list(matrix.shape)} of {matrix.dtype}, like embeddings.")
    factors = (torch.from_numpy(np.ascontiguousarray(some, matrix.dtype)) for some in (read, write))
    least = LOST * float(np.finfo(matrix.dtype).eps)
    lengths = ops.low_rank_rows_(torch.from_numpy(out), source, *factors, least=least).numpy()
    before, after = lengths  # looked at only now, so that memory is read once
    if len(before) and not (before.min() >= 1 - UNIT and before.max() <= 1 + UNIT):  # nor is NaN
        as_matrix(given, "embeddings")
        raise ConfigError("embeddings: expected rows of length 1. Normalise them: fmcompress.clip.normalised.")
    return out, after <= least
