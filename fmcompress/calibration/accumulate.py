"""Sums of x x^T over the tokens: the upper triangle of a Hessian, by matrix products."""

import torch
from torch import Tensor

TILE_COLS = 1024
# On a GPU: 2048 rows of 4096 columns are 256 tiles of 128 x 256, just under two waves of the 132 multiprocessors of an
# H200; four products of 1024 rows, the last ones small, would take as long as the whole square.
GPU_TILE_COLS = 2048
# at most so many tokens are summed within a product, where tensor cores truncate; between products sums are rounded
CHUNK_TOKENS = 16384
HALVES = (torch.bfloat16, torch.float16)


def accumulate_hessian_(hessian: Tensor, inputs: Tensor) -> Tensor:
    """hessian += inputs^T inputs, upper triangle only, tile row by tile row: half of a full product for wide layers.

    hessian  [cols, cols] float32 or float64, changed in place; its lower triangle means nothing until symmetrised
    inputs   [tokens, cols] any float dtype

    On a GPU half floats go into a float32 Hessian as they are: their products are exact in float32, and tensor cores
    sum them in it. All else is multiplied in the Hessian's dtype; of float32 that is true float32, unless the caller
    has turned on torch.backends.cuda.matmul.allow_tf32.
    """
    if inputs.is_cuda and inputs.dtype in HALVES and hessian.dtype == torch.float32:
        for part in inputs.split(CHUNK_TOKENS):
            for begin in range(0, len(hessian), GPU_TILE_COLS):
                rows = slice(begin, begin + GPU_TILE_COLS)
                add_half_product_(hessian[rows, begin:], part[:, rows].T, part[:, begin:])
        return hessian
    inputs, tile_cols = inputs.to(hessian.dtype), GPU_TILE_COLS if inputs.is_cuda else TILE_COLS
    for begin in range(0, len(hessian), tile_cols):
        rows = slice(begin, begin + tile_cols)
        hessian[rows, begin:].addmm_(inputs[:, rows].T, inputs[:, begin:])
    return hessian


def add_half_product_(total: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """total += left right, of half floats, summed in float32. On CUDA only.

    total        [rows, cols] float32, a view with rows of any stride, changed in place
    left, right  [rows, tokens] and [tokens, cols], float16 or bfloat16, of one dtype

    cuBLAS adds as it writes: where torch is given the very tensor as `self` and `out`, it copies neither (ATen's
    addmm_out_cuda_impl; a float32 `self` beside half operands is allowed since torch 2.10).
    """
    return torch.addmm(total, left, right, out_dtype=torch.float32, out=total)  # type: ignore[call-overload,no-any-return]


def symmetrise_(hessian: Tensor) -> Tensor:
    """Copy the upper triangle over the lower one, tile row by tile row."""
    for begin in range(0, len(hessian), TILE_COLS):
        rows = slice(begin, begin + TILE_COLS)
        tile = hessian[rows, rows]
        tile.copy_(tile.triu() + tile.triu(1).T)
        hessian[begin + TILE_COLS :, rows] = hessian[rows, begin + TILE_COLS :].T
    return hessian
