"""The contracts of packed codes and bitmasks."""

import torch
from torch import Tensor

from .checks import check_bits, check_codes, check_matrix, check_values, require

# Each row is a stream of its codes, `bits` bits each, lowest bit first, zero bits up to the next multiple of 4 bytes:
# packed[r, b] holds the bits 8b .. 8b + 7 of row r; on a little-endian machine its words are pack-quantized's int32
torch.library.define("fmcompress::pack_codes", "(Tensor codes, int bits) -> Tensor")


def packed_bytes(cols: int, bits: int) -> int:
    """Bytes of one packed row of codes."""
    return (cols * bits + 31) // 32 * 4


def check_pack_codes(codes: Tensor, bits: int) -> None:
    """Raise ValueError unless the arguments fit the contract; bits of a code above `bits` are ignored."""
    check_codes("codes", codes)
    check_bits(bits)


@torch.library.register_fake("fmcompress::pack_codes")
def _(codes: Tensor, bits: int) -> Tensor:
    check_pack_codes(codes, bits)
    return codes.new_empty((codes.shape[0], packed_bytes(codes.shape[1], bits)))


torch.library.define("fmcompress::unpack_codes", "(Tensor packed, int bits, int cols) -> Tensor")


def check_unpack_codes(packed: Tensor, bits: int, cols: int) -> None:
    """Raise ValueError unless the arguments fit the contract."""
    check_pack_codes(packed, bits)
    require(
        cols >= 0 and packed.shape[1] == packed_bytes(cols, bits),
        lambda: f"packed: expected {packed_bytes(max(cols, 0), bits)} bytes a row, got {packed.shape[1]}.",
    )


@torch.library.register_fake("fmcompress::unpack_codes")
def _(packed: Tensor, bits: int, cols: int) -> Tensor:
    check_unpack_codes(packed, bits, cols)
    return packed.new_empty((packed.shape[0], cols))


# kept = values[mask] in row-major order; bit c % 8 of bitmask[r, c // 8] = mask[r, c], zero bits after the last column
torch.library.define("fmcompress::pack_bitmask", "(Tensor values, Tensor mask, int count) -> (Tensor, Tensor)")


def check_pack_bitmask(values: Tensor, mask: Tensor, count: int) -> None:
    """Raise ValueError unless the arguments fit the contract."""
    check_matrix("values", values)
    check_values("values", values)
    require(
        mask.shape == values.shape and mask.dtype == torch.bool,
        lambda: f"mask: expected {list(values.shape)} bool, got {list(mask.shape)} {mask.dtype}.",
    )
    require(
        0 <= count <= values.numel(),
        lambda: f"count: expected 0 to {values.numel()}, the number of True in mask, got {count}.",
    )


@torch.library.register_fake("fmcompress::pack_bitmask")
def _(values: Tensor, mask: Tensor, count: int) -> tuple[Tensor, Tensor]:
    check_pack_bitmask(values, mask, count)
    rows, cols = values.shape
    return values.new_empty((rows, (cols + 7) // 8), dtype=torch.uint8), values.new_empty((count,))


torch.library.define("fmcompress::unpack_bitmask", "(Tensor bitmask, Tensor kept, int cols) -> Tensor")


def check_unpack_bitmask(bitmask: Tensor, kept: Tensor, cols: int) -> None:
    """Raise ValueError unless the arguments fit the contract."""
    check_codes("bitmask", bitmask)
    check_values("kept", kept)
    require(
        cols >= 0 and bitmask.shape[1] == (cols + 7) // 8,
        lambda: f"bitmask: expected {(max(cols, 0) + 7) // 8} bytes a row, got {bitmask.shape[1]}.",
    )
    require(kept.dim() == 1, lambda: f"kept: expected 1 dimension, got {list(kept.shape)}.")


@torch.library.register_fake("fmcompress::unpack_bitmask")
def _(bitmask: Tensor, kept: Tensor, cols: int) -> Tensor:
    check_unpack_bitmask(bitmask, kept, cols)
    return kept.new_empty((bitmask.shape[0], cols))
