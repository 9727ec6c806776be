"""Grids, codes and the joint sweep."""

from torch import Tensor

from .dispatch import run


def search_grid(weight: Tensor, bits: int, *, symmetric: bool = True, candidates: int = 1) -> tuple[Tensor, Tensor]:
    """Find the scale and zero-point of each segment: value = (code - zero) * scale, code in 0 .. 2^bits - 1.

    The range always holds 0, so that zeros stay exactly zero. One candidate is min-max; more of them also try ranges
    clipped evenly to down to a fifth, and the one of least squared error is kept, the widest of equals.

    weight      [segments, length >= 1] float32 or float64, any strides
    bits        2, 3, 4 or 8
    symmetric   zero = 2^(bits - 1) and the same range on both sides
    candidates  1 to 1000
    returns     scale [segments], dtype of weight, positive; zero [segments] uint8

    Raises ValueError if shape, dtype or options do not fit.
    """
    return run("search_grid", weight.contiguous(), bits, symmetric, candidates)  # type: ignore[no-any-return]


def quantize(weight: Tensor, scale: Tensor, zero: Tensor, bits: int) -> Tensor:
    """Round each weight to the nearest level of its segment's grid, half to even, clipped to the range.

    weight   [segments, length] float32 or float64, any strides
    scale    [segments] same dtype, not 0
    zero     [segments] uint8, below 2^bits
    returns  [segments, length] uint8 codes below 2^bits

    Raises ValueError if shapes, dtypes or bits do not fit.
    """
    return run("quantize", weight.contiguous(), scale.contiguous(), zero.contiguous(), bits)  # type: ignore[no-any-return]


def dequantize(codes: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """(codes - zero) * scale for each segment.

    codes    [segments, length] uint8, any strides
    scale    [segments] float32 or float64
    zero     [segments] uint8
    returns  [segments, length], dtype of scale

    Raises ValueError if shapes or dtypes do not fit.
    """
    return run("dequantize", codes.contiguous(), scale.contiguous(), zero.contiguous())  # type: ignore[no-any-return]


def joint_sweep_block_(
    weight: Tensor,
    factor: Tensor,
    scale: Tensor,
    zero: Tensor,
    bits: int,
    prune: Tensor | None = None,
    *,
    keep: int = 0,
    group: int = 0,
) -> tuple[Tensor, Tensor]:
    """Prune and quantize one block column by column, the errors of both absorbed by the columns after it.

    Column j: q = 0 where pruned, else weight[:, j] rounded to its grid; e = (weight[:, j] - q) / factor[j, j];
    weight[:, k] -= e * factor[j, k] for k > j; weight[:, j] = q (SparseGPT, section 3.4; without pruning it is GPTQ).

    weight   [rows, cols <= 128] float32 or float64, contiguous; changed in place, holds the quantized values at the end
    factor   [cols, cols] same dtype, upper triangular: the block's part of U with inverse Hessian = U^T U
    scale    [rows, 1] for one grid a row, or [rows, cols] for one a weight; same dtype, not 0
    zero     like scale, uint8, below 2^bits
    bits     2, 3, 4 or 8
    prune    [rows, cols] bool, True = prune; None chooses keep:group inside the sweep, or prunes nothing if group is 0
    returns  [rows] sum of e^2, same dtype: the block's share of tr(dW H dW^T); [rows, cols] uint8 codes

    All tensors may have a batch in front: each matrix is swept with its own factor, to the same bits as by itself.

    Raises ValueError if shapes, dtypes or options do not fit, or if weight is not contiguous.
    """
    if not weight.is_contiguous():
        raise ValueError(f"weight: expected contiguous rows, got strides {weight.stride()}. Call weight.contiguous().")
    mask = None if prune is None else prune.contiguous()
    rest = (factor.contiguous(), mask, scale.contiguous(), zero.contiguous(), bits, keep, group)
    return run("joint_sweep_block_", weight, *rest)  # type: ignore[no-any-return]
