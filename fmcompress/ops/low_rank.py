"""Many rows and few directions: a change along them, the nearest of them."""

from torch import Tensor

from .dispatch import run


def low_rank_rows_(out: Tensor, rows: Tensor, read: Tensor, write: Tensor, *, least: float = 0.0) -> Tensor:
    """Write rows + (rows @ read.T) @ write into out, each row scaled to length 1.

    out    [n, cols] like rows, contiguous, changed; may be rows themselves
    rows   [n, cols] float32 or float64, any strides
    read   [directions, cols] and write [directions, cols], dtype of rows
    least  a row whose length is no larger than this after the change stays as it was

    Returns [2, n] the length of each row before, and after the change but before it is scaled. Raises ValueError if
    shapes or dtypes do not fit. One pass over memory: Adila et al. 2024 change embeddings direction by direction.
    """
    tensors = rows.contiguous(), read.contiguous(), write.contiguous()
    return run("low_rank_rows_", out, *tensors, least)  # type: ignore[no-any-return]


def nearest_rows(rows: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Which target has the largest product with each row; of equal ones the first.

    rows     [n, cols] float32 or float64, any strides
    targets  [k, cols] dtype of rows, at least one; of more than some hundred a product of matrices is as fast

    Returns [n] int64 the target, [n] the product with it, [n] the length of the row. A row with NaN has length NaN and
    target 0. Raises ValueError if shapes or dtypes do not fit. One pass over memory.
    """
    return run("nearest_rows", rows.contiguous(), targets.contiguous())  # type: ignore[no-any-return]
