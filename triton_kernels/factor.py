"""factor_block in Triton: one program a matrix, which stays in registers, a column of the factor at a time."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .arithmetic import divide, root

WARPS = 8


@triton.jit
def factor_kernel(symmetric_ptr, upper_ptr, inverse_ptr, failed_ptr, n, SIZE: tl.constexpr):
    """With rows and columns reversed R is the usual lower factor L, and R^-1 is X = L^-1.

    both[k, j] is L[j, k] for j > k and X[k, j] for j <= k: what a column makes others lose is the same for both. Column
    j of X begins at step j; until then its place holds the other half of what is left of the matrix, which nobody reads.
    """
    i = tl.arange(0, SIZE)
    j = tl.arange(0, SIZE)
    begin = tl.program_id(0).to(tl.int64) * n * n
    of_l = (i[:, None] <= j[None, :]) & (j < n)[None, :]
    # L[j, i] lies where R[n - 1 - j, n - 1 - i] does, X[i, j] where its own reversed place is
    place_l = (n - 1 - j)[None, :] * n + (n - 1 - i)[:, None]
    place_x = (n - 1 - i)[:, None] * n + (n - 1 - j)[None, :]
    of_x = (i[:, None] >= j[None, :]) & (i < n)[:, None]
    both = tl.load(symmetric_ptr + begin + place_l, mask=of_l, other=0)
    failed = 0
    for k in range(0, n):
        row = tl.sum(tl.where((i == k)[:, None], both, 0), axis=0)
        square = tl.sum(tl.where(j == k, row, 0), axis=0)
        failed = tl.where((square > 0) & (square - square == 0), failed, 1)  # inf - inf is NaN
        pivot = root(square)
        tl.store(upper_ptr + begin + (n - 1 - k) * (n + 1), pivot)
        row = divide(tl.where(j == k, 1, row), tl.zeros([SIZE], both.dtype) + pivot)
        rest = tl.where((j == k)[None, :], 0, both) - row[:, None] * row[None, :]
        both = tl.where((i > k)[:, None], rest, tl.where((i == k)[:, None], row[None, :], both))
    inside = (i < n)[:, None] & (j < n)[None, :]
    tl.store(upper_ptr + begin + place_l, both, mask=of_l & (i[:, None] < j[None, :]))
    tl.store(upper_ptr + begin + place_l, 0.0, mask=inside & (i[:, None] > j[None, :]))
    tl.store(inverse_ptr + begin + place_x, tl.where(of_x, both, 0), mask=inside)
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
