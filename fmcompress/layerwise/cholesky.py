"""H = R R^T with R upper triangular: in block columns from right to left, nearly all of it matrix products."""

import torch
from torch import Tensor

from .. import ops
from .products import Growing, Products, add_product_

FACTOR_COLS = 384  # columns that a CPU factors at a time
BLOCK_COLS = ops.MAX_BLOCK_COLS  # of one call of factor_block
SUPER_COLS = 4 * BLOCK_COLS  # columns that absorb all to their right by one product


def upper_cholesky(symmetric: Tensor, diagonal: Tensor) -> Tensor | None:
    """R with R R^T = `symmetric` [cols, cols] with its diagonal replaced; None if it is not positive definite.

    R's inverse is the U that SparseGPT gets by inverting and factoring a second time. Each block column first absorbs
    those to its right by one product, so that nothing but R is as large as the Hessian. For a CPU: it looks at every
    block's success.
    """
    cols = len(symmetric)
    upper = torch.zeros_like(symmetric)
    for begin in reversed(range(0, cols, FACTOR_COLS)):
        end = min(cols, begin + FACTOR_COLS)
        panel = _damped_columns(symmetric, diagonal, begin, end)
        _subtract_product_(panel, upper[:end, end:], upper[begin:end, end:])
        # with rows and columns reversed, the usual lower factor becomes the upper one
        flipped, failed = torch.linalg.cholesky_ex(panel[begin:].flip(0, 1))
        if failed:
            return None
        triangle = flipped.flip(0, 1)
        upper[begin:end, begin:end] = triangle
        if begin > 0:
            upper[:begin, begin:end] = torch.linalg.solve_triangular(
                triangle.mT, panel[:begin], upper=False, left=False
            )
    return upper


def factor_blocks(symmetric: Tensor, diagonal: Tensor, products: Products = "fp32") -> tuple[Tensor, Tensor, Tensor]:
    """R of one matrix or of each in a batch, and the inverses of R's diagonal blocks; nothing waits for a GPU.

    symmetric  [cols, cols] or [batch, cols, cols] float32 or float64; left as it is
    diagonal   [cols] or [batch, cols], what its diagonal is to be
    products   how the wide products are computed on a GPU
    returns    (upper, inverses, failed): R shaped like symmetric, zero below its diagonal; the inverse of
               R[128 b : 128 b + 128, the same] in inverses[..., b, :, :], [blocks, 128, 128], zeros past the last
               column; failed [] or [batch] int32, not 0 where a matrix is not positive definite or not finite, and
               then the rest of that matrix is unspecified

    No step depends on a value, so that all of them fit into a CUDA graph. Block columns to the left of a block are
    multiplied by its inverse instead of solved with it.
    """
    cols, batch = symmetric.shape[-1], symmetric.shape[:-2]
    upper = torch.zeros_like(symmetric, memory_format=torch.contiguous_format)
    blocks = -(-cols // BLOCK_COLS)
    inverses = symmetric.new_zeros(*batch, blocks, BLOCK_COLS, BLOCK_COLS)
    failed = symmetric.new_zeros(*batch, blocks, dtype=torch.int32)
    wide = Growing(upper, products)
    for first in reversed(range(0, cols, SUPER_COLS)):
        last = min(cols, first + SUPER_COLS)
        panel = _damped_columns(symmetric, diagonal, first, last)
        if last < cols:
            right = slice(last, cols)
            add_product_(panel, wide.part(slice(0, last), right), wide.part(slice(first, last), right).mT, -1.0)
        for begin in reversed(range(first, last, BLOCK_COLS)):
            end, block = min(last, begin + BLOCK_COLS), begin // BLOCK_COLS
            strip = panel[..., :end, begin - first : end - first]
            _subtract_product_(strip, upper[..., :end, end:last], upper[..., begin:end, end:last])
            triangle, inverse, failed[..., block] = ops.factor_block(strip[..., begin:, :])
            upper[..., begin:end, begin:end] = triangle
            inverses[..., block, : end - begin, : end - begin] = inverse
            torch.matmul(strip[..., :begin, :], inverse.mT, out=upper[..., :begin, begin:end])
        wide.settle(slice(0, last), slice(first, last))
    return upper, inverses, failed.sum(-1, dtype=torch.int32)


def _damped_columns(symmetric: Tensor, diagonal: Tensor, begin: int, end: int) -> Tensor:
    """A copy of columns begin to end down to the diagonal, which is replaced."""
    panel = symmetric[..., :end, begin:end].clone(memory_format=torch.contiguous_format)
    panel[..., begin:, :].diagonal(dim1=-2, dim2=-1).copy_(diagonal[..., begin:end])
    return panel


def _subtract_product_(panel: Tensor, left: Tensor, right: Tensor) -> None:
    """panel -= left right^T, of matrices or of batches of them."""
    if left.shape[-1] > 0:
        (panel.addmm_ if panel.dim() == 2 else panel.baddbmm_)(left, right.mT, alpha=-1)
