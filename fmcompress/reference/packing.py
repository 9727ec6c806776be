"""Packed codes and bitmasks in plain PyTorch."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from .._ops import packed_bytes


def to_bytes(bits: Tensor) -> Tensor:
    """[rows, n] of 0 and 1 -> [rows, ceil(n / 8)] uint8, lowest bit first."""
    rows, count = bits.shape
    octets = pad(bits.to(torch.uint8), (0, -count % 8)).view(rows, (count + 7) // 8, 8)
    return (octets << torch.arange(8, dtype=torch.uint8, device=bits.device)).sum(2, dtype=torch.uint8)


def to_bits(octets: Tensor) -> Tensor:
    """[rows, n] uint8 -> [rows, 8 n] uint8 of 0 and 1, lowest bit first."""
    places = torch.arange(8, dtype=torch.uint8, device=octets.device)
    return ((octets[:, :, None] >> places) & 1).view(len(octets), octets.shape[1] * 8)


def pack_codes(codes: Tensor, bits: int) -> Tensor:
    """See fmcompress.ops.pack_codes; any number of bits up to 8."""
    rows, cols = codes.shape
    places = torch.arange(bits, dtype=torch.uint8, device=codes.device)
    stream = to_bytes(((codes[:, :, None] >> places) & 1).view(rows, cols * bits))
    return pad(stream, (0, packed_bytes(cols, bits) - stream.shape[1]))


def unpack_codes(packed: Tensor, bits: int, cols: int) -> Tensor:
    """See fmcompress.ops.unpack_codes."""
    stream = to_bits(packed)[:, : cols * bits].reshape(len(packed), cols, bits)
    return (stream << torch.arange(bits, dtype=torch.uint8, device=packed.device)).sum(2, dtype=torch.uint8)


def pack_bitmask(values: Tensor, mask: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """See fmcompress.ops.pack_bitmask."""
    kept = values[mask]
    if len(kept) != count:
        raise ValueError(f"count: expected {len(kept)}, the number of True in mask, got {count}.")
    return to_bytes(mask), kept


def unpack_bitmask(bitmask: Tensor, kept: Tensor, cols: int) -> Tensor:
    """See fmcompress.ops.unpack_bitmask."""
    bits = to_bits(bitmask).bool()
    mask = bits[:, :cols]
    count = int(mask.sum())
    if bits[:, cols:].any() or count != len(kept):
        raise ValueError(f"kept: the bitmask counts {count} values of {cols} columns a row, got {len(kept)}.")
    integers = {1: torch.uint8, 2: torch.int16, 4: torch.int32}[kept.itemsize]  # float8 cannot be indexed
    dense = kept.new_zeros(mask.shape).view(integers)
    dense[mask] = kept.view(integers)
    return dense.view(kept.dtype)
