"""Packed codes and bitmasks."""

from torch import Tensor

from .dispatch import run


def pack_codes(codes: Tensor, bits: int) -> Tensor:
    """Pack each row into a stream of `bits` bits a code, lowest bit first, filled up with zeros to 4 bytes.

    On a little-endian machine `packed.view(torch.int32)` is what compressed-tensors calls pack-quantized.

    codes    [rows, cols] uint8 below 2^bits, any strides; higher bits are ignored
    bits     2, 3, 4 or 8
    returns  [rows, 4 * ceil(cols * bits / 32)] uint8

    Raises ValueError if shape, dtype or bits do not fit.
    """
    return run("pack_codes", codes.contiguous(), bits)  # type: ignore[no-any-return]


def unpack_codes(packed: Tensor, bits: int, cols: int) -> Tensor:
    """Undo pack_codes.

    packed   [rows, 4 * ceil(cols * bits / 32)] uint8, any strides; bits after the last code are ignored
    returns  [rows, cols] uint8

    Raises ValueError if shape, dtype or bits do not fit.
    """
    return run("unpack_codes", packed.contiguous(), bits, cols)  # type: ignore[no-any-return]


def pack_bitmask(values: Tensor, mask: Tensor, count: int | None = None) -> tuple[Tensor, Tensor]:
    """Keep the masked values only, and one bit a value that says where they were.

    values   [rows, cols] any dtype of 1, 2 or 4 bytes, any strides
    mask     [rows, cols] bool, True = keep
    count    how many are True, if the caller knows it
    returns  bitmask [rows, ceil(cols / 8)] uint8, lowest bit first; kept [count], row after row, dtype of values

    Raises ValueError if shapes, dtypes or count do not fit.
    """
    if count is None:
        count = int(mask.count_nonzero())
    return run("pack_bitmask", values.contiguous(), mask.contiguous(), count)  # type: ignore[no-any-return]


def unpack_bitmask(bitmask: Tensor, kept: Tensor, cols: int) -> Tensor:
    """Undo pack_bitmask; what was not kept becomes 0.

    bitmask  [rows, ceil(cols / 8)] uint8, any strides; no bit set after the last column
    kept     [count] any dtype of 1, 2 or 4 bytes, as many as there are bits set
    returns  [rows, cols] dtype of kept

    Raises ValueError if shapes, dtypes or the number of bits do not fit.
    """
    return run("unpack_bitmask", bitmask.contiguous(), kept.contiguous(), cols)  # type: ignore[no-any-return]
