"""factor_block in Triton: one program a matrix, which stays in registers, a column of the factor at a time."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .arithmetic import divide, root

WARPS = 16


@triton.jit
def factor_kernel(symmetric_ptr, upper_ptr, inverse_ptr, failed_ptr, n, SIZE: tl.constexpr):
    """With rows and columns reversed R is the usual lower factor L, and R^-1 is X = L^-1.

    lost[k, j] is what row k of L^T loses to earlier columns where j >= k, and row k of X where j < k: the same products
    make both. Column j of X begins at step j; what its place held until then, nobody reads.
    """
    i = tl.arange(0, SIZE)
    j = tl.arange(0, SIZE)
    begin = tl.program_id(0).to(tl.int64) * n * n
    lost = tl.zeros([SIZE, SIZE], symmetric_ptr.dtype.element_ty)
    failed = 0
    for k in range(0, n):
        # rows are read and written one by one: the places of a whole matrix would take more registers than there are
        column = (n - 1 - j) * n + n - 1 - k
        row = tl.load(symmetric_ptr + begin + column, mask=(j >= k) & (j < n), other=0)
        row -= tl.sum(tl.where((i == k)[:, None], lost, 0), axis=0)
        square = tl.sum(tl.where(j == k, row, 0), axis=0)
        failed = tl.where((square > 0) & (square - square == 0), failed, 1)  # inf - inf is NaN
        pivot = root(square)
        row = divide(tl.where(j == k, 1, row), tl.zeros([SIZE], row.dtype) + pivot)
        column_of_l = tl.where(j > k, row, tl.where(j == k, pivot, 0))
        tl.store(upper_ptr + begin + column, column_of_l, mask=j < n)
        tl.store(inverse_ptr + begin + (n - 1 - k) * n + n - 1 - j, tl.where(j <= k, row, 0), mask=j < n)
        lost = tl.where((j == k)[None, :], 0, lost) + row[:, None] * row[None, :]
    tl.store(failed_ptr + tl.program_id(0), failed)


def factor_block(symmetric: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """See fmcompress.ops.factor_block."""
    upper, inverse = torch.empty_like(symmetric), torch.empty_like(symmetric)
    failed = symmetric.new_empty(symmetric.shape[:-2], dtype=torch.int32)
    if failed.numel() > 0:
        n = symmetric.shape[-1]
        size = max(16, triton.next_power_of_2(n))
        with torch.cuda.device_of(symmetric):
            grid = (failed.numel(),)
            factor_kernel[grid](symmetric, upper, inverse, failed, n, SIZE=size, num_warps=WARPS)
    return upper, inverse, failed
