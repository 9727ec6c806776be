"""The contracts of many rows and few directions. On the host only: on a GPU products of matrices are as fast."""

import torch
from torch import Tensor

from .checks import check_beside, check_floating, check_matrix, require

# y = x + (x read^T) write for every row x; lengths[:, x] = |x|, |y|; out = y / |y| where |y| > least, else x.
# out may be the memory of rows.
torch.library.define(
    "fmcompress::low_rank_rows_",
    "(Tensor(a!) out, Tensor rows, Tensor read, Tensor write, float least) -> Tensor",
)


def check_low_rank_rows_(out: Tensor, rows: Tensor, read: Tensor, write: Tensor, least: float) -> None:
    """Raise ValueError unless the arguments fit the contract."""
    for name, matrix in (("rows", rows), ("read", read)):
        check_matrix(name, matrix)
        check_floating(name, matrix)
    check_beside("out", out, rows, rows.dtype)
    check_beside("write", write, read, rows.dtype)
    require(
        read.shape[1] == rows.shape[1] and read.dtype == rows.dtype,
        lambda: f"read: expected [directions, {rows.shape[1]}] {rows.dtype}, got {list(read.shape)} {read.dtype}.",
    )
    require(out.is_contiguous(), lambda: "out: expected contiguous rows. Call .contiguous() first.")
    require(least >= 0, lambda: f"least: expected a length of at least 0, got {least}.")


@torch.library.register_fake("fmcompress::low_rank_rows_")
def _(out: Tensor, rows: Tensor, read: Tensor, write: Tensor, least: float) -> Tensor:
    check_low_rank_rows_(out, rows, read, write, least)
    return rows.new_empty((2, rows.shape[0]))


# index[x] = the first k of the largest <x, target_k>; product[x] = that; length[x] = |x|
torch.library.define("fmcompress::nearest_rows", "(Tensor rows, Tensor targets) -> (Tensor, Tensor, Tensor)")


def check_nearest_rows(rows: Tensor, targets: Tensor) -> None:
    """Raise ValueError unless the arguments fit the contract."""
    for name, matrix in (("rows", rows), ("targets", targets)):
        check_matrix(name, matrix)
        check_floating(name, matrix)
    require(
        targets.shape[1] == rows.shape[1] and targets.dtype == rows.dtype,
        lambda: f"targets: expected [k, {rows.shape[1]}] {rows.dtype}, got {list(targets.shape)} {targets.dtype}.",
    )
    require(targets.shape[0] > 0, lambda: "targets: expected at least one row, got none.")


@torch.library.register_fake("fmcompress::nearest_rows")
def _(rows: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    check_nearest_rows(rows, targets)
    count = (rows.shape[0],)
    return rows.new_empty(count, dtype=torch.int64), rows.new_empty(count), rows.new_empty(count)
