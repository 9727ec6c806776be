"""How far apart two floats of equal width are, as an integer: small changes become small numbers, and no bit is lost.

Floats are sign and magnitude: read as integers they ascend only above zero. Their ordered image ascends everywhere,
so that the difference of two images counts the floats between them. It wraps around where it must.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Bits = NDArray[Any]  # unsigned integers of 1, 2, 4 or 8 bytes
UNSIGNED: dict[int, np.dtype[Any]] = {1: np.dtype("<u1"), 2: np.dtype("<u2"), 4: np.dtype("<u4"), 8: np.dtype("<u8")}
SIGNED: dict[int, np.dtype[Any]] = {1: np.dtype("<i1"), 2: np.dtype("<i2"), 4: np.dtype("<i4"), 8: np.dtype("<i8")}

PIECE = 1 << 16  # entries in float64 that stay in a core's cache


def bits_of(tensor: Tensor) -> Bits:
    """The bits of a tensor as one row of unsigned integers, which shares its memory where it is contiguous."""
    return tensor.contiguous().view(-1).view(torch.uint8).numpy().view(UNSIGNED[tensor.itemsize])


def copy_of(tensor: Tensor) -> Tensor:
    """The same bits in memory of its own. Tensor.clone() makes 1 of a bool whose byte is another one."""
    return torch.from_numpy(bits_of(tensor).copy()).view(tensor.dtype).view(tensor.shape)


def ordered(bits: Bits, floats: bool) -> Bits:
    """The ordered image of floats in two's complement, and of it the floats again; integers stand for themselves."""
    if not floats:
        return bits
    signed = bits.view(SIGNED[bits.itemsize])
    flipped = (signed >> (8 * bits.itemsize - 1)) & np.iinfo(signed.dtype).max  # all but the sign where that is set
    return bits ^ flipped.view(bits.dtype)


def distance(before: Bits, after: Bits, floats: bool) -> Bits:
    """after - before in ordered images, signs folded in: 0, -1, 1, -2 … become 0, 1, 2, 3 …"""
    apart = ordered(after, floats) - ordered(before, floats)
    signs = apart.view(SIGNED[apart.itemsize]) >> (8 * apart.itemsize - 1)
    return (apart << 1) ^ signs.view(apart.dtype)


def moved(before: Bits, by: Bits, floats: bool) -> Bits:
    """The inverse of distance: what lies so far from `before`."""
    one = by.dtype.type(1)
    apart = (by >> one) ^ (~(by & one) + one)
    return ordered(ordered(before, floats) + apart, floats)


def pieces(*tensors: Tensor) -> Iterator[list[Tensor]]:
    """Tensors of one size together, cut in rows of PIECE entries, in float64."""
    for each in zip(*(tensor.reshape(-1).split(PIECE) for tensor in tensors), strict=True):
        yield [piece.double() for piece in each]


def sum_of_squares(piece: Tensor) -> float:
    """Of a piece, the same with any number of threads; sums of torch are not."""
    return float(np.square(piece.numpy()).sum())
