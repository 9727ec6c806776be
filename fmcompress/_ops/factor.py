"""The contract of the triangular factor of small blocks."""

import torch
from torch import Tensor

from .checks import check_floating, require
from .pruning import MAX_BLOCK_COLS

# symmetric = upper upper^T with upper triangular, from its upper triangle alone; inverse = upper^-1, triangular too:
# for k = n - 1, ..., 0:  upper[k, k] = sqrt(symmetric[k, k] - sum over j > k of upper[k, j]^2)
#   for i < k:            upper[i, k] = (symmetric[i, k] - sum over j > k of upper[i, j] upper[k, j]) / upper[k, k]
# failed = 1 where the argument of a root is not a positive finite number, else 0; the rest is then unspecified
torch.library.define("fmcompress::factor_block", "(Tensor symmetric) -> (Tensor, Tensor, Tensor)")


def check_factor_block(symmetric: Tensor) -> None:
    """Raise ValueError unless the argument fits the contract."""
    shape = tuple(symmetric.shape)
    require(
        len(shape) in (2, 3) and shape[-1] == shape[-2],
        lambda: f"symmetric: expected [n, n] or [batch, n, n], got shape {shape}. Reshape it.",
    )
    check_floating("symmetric", symmetric)
    require(
        1 <= shape[-1] <= MAX_BLOCK_COLS,
        lambda: f"symmetric: expected 1 to {MAX_BLOCK_COLS} columns, got {shape[-1]}. Factor it block by block.",
    )


@torch.library.register_fake("fmcompress::factor_block")
def _(symmetric: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    check_factor_block(symmetric)
    upper = symmetric.new_empty(symmetric.shape)
    return upper, symmetric.new_empty(symmetric.shape), symmetric.new_empty(symmetric.shape[:-2], dtype=torch.int32)
