"""What a payload holds, in plain PyTorch: kept elements, codes, scales, header, checksum; docs/wire-format.md."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from .._ops import HEADER, HEADER_BYTES, NOT_FINITE, Layout
from .packing import pack_codes, to_bits, to_bytes, unpack_codes

_WORD = 0xFFFFFFFF
_LARGEST_SCALE = 0x7F7F  # the largest finite bfloat16


def largest(values: Tensor, kept: int) -> Tensor:
    """The mask of the largest magnitudes of each row, earlier ones first among equals."""
    keys = values.abs().view(torch.int32)  # in the order of the magnitudes
    order = keys.sort(dim=1, descending=True, stable=True).indices[:, :kept]
    return torch.zeros_like(values, dtype=torch.bool).scatter_(1, order, True)


def _groups(kept: Tensor, layout: Layout, fill: float) -> Tensor:
    """[sampled, kept] -> [sampled, groups, group]"""
    missing = layout.groups * layout.group - layout.kept
    return pad(kept, (0, missing), value=fill).view(len(kept), layout.groups, layout.group)


def _finite_or_zero(factor: Tensor) -> Tensor:
    return torch.where(factor.isfinite(), factor, 0.0)


def _rounded(values: Tensor) -> Tensor:
    """To the next integers; NaN, as an overflown sum of gradients and residuals leaves it, becomes 0."""
    return torch.where(values.isnan(), 0.0, torch.floor(values + 0.5))


def like(tensor: Tensor, number: float) -> Tensor:
    """The number in every place, for quotients that are rounded once: PyTorch makes a number over a tensor, and on a
    GPU a tensor over a number, a product with the reciprocal."""
    return torch.full_like(tensor, number)


def _up_to_scale(values: Tensor) -> Tensor:
    """Bits of the bfloat16 at or above values that are not negative. int32"""
    return ((values.view(torch.int32) + 0xFFFF) >> 16).clamp(max=_LARGEST_SCALE)


def _mean(magnitudes: Tensor, layout: Layout) -> Tensor:
    high = magnitudes.amax(2, keepdim=True)
    units = _rounded(magnitudes * _finite_or_zero(like(high, 65535.0) / high)).to(torch.int64).sum(2)
    counts = torch.full((layout.groups,), layout.group, device=units.device)
    counts[-1] = layout.kept - (layout.groups - 1) * layout.group
    mean = units.float() / (counts * 65535).float() * high[:, :, 0]
    scale = mean.nan_to_num(torch.inf, torch.inf).to(torch.bfloat16)
    return scale.view(torch.int16).to(torch.int32).clamp(max=_LARGEST_SCALE)


def _scales(magnitudes: Tensor, layout: Layout) -> Tensor:
    """Bits of the bfloat16 scales of every group. [sampled, groups, scales] int32"""
    high = _groups(magnitudes, layout, 0.0)
    if layout.bits == 1:
        return _mean(high, layout)[:, :, None]
    top = _up_to_scale(high.amax(2))
    if layout.symmetric:
        return top[:, :, None]
    low = _groups(magnitudes, layout, torch.inf).amin(2).view(torch.int32) >> 16
    return torch.stack((low, top), 2)


def _of_elements(per_group: Tensor, layout: Layout) -> Tensor:
    """[sampled, groups] -> [sampled, kept]"""
    return per_group.repeat_interleave(layout.group, 1)[:, : layout.kept]


def _grid(scales: Tensor, layout: Layout) -> tuple[Tensor, Tensor, int]:
    """The lowest magnitude, the width of all levels and their number; [sampled, kept] float32."""
    values = [_of_elements((scale << 16).view(torch.float32), layout) for scale in scales.unbind(2)]
    levels = (1 << (layout.bits - 1)) - 1
    if layout.symmetric or layout.bits == 1:
        return torch.zeros_like(values[0]), values[0], levels
    return values[0], values[1] - values[0], levels


def _encode(kept: Tensor, scales: Tensor, layout: Layout) -> Tensor:
    negative = (kept < 0).to(torch.int32)
    if layout.bits == 1:
        return negative.to(torch.uint8)
    low, width, levels = _grid(scales, layout)
    quotient = _rounded((kept.abs() - low) * _finite_or_zero(like(width, levels) / width))
    code = quotient.clamp(max=levels).to(torch.int32)
    middle = 1 << (layout.bits - 1)
    signed = middle + torch.where(negative == 1, -code, code) if layout.symmetric else code + negative * middle
    return signed.to(torch.uint8)


def _decode(codes: Tensor, scales: Tensor, layout: Layout) -> Tensor:
    code = codes.to(torch.int32)
    low, width, levels = _grid(scales, layout)
    if layout.bits == 1:
        return torch.where(code == 1, -width, width)
    middle = 1 << (layout.bits - 1)
    if layout.symmetric:
        return (code - middle) * (width / like(width, levels))
    magnitude = low + (code & (middle - 1)) * (width / like(width, levels))
    return torch.where(code >= middle, -magnitude, magnitude)


def write_body(kept: Tensor, mask: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    """Body [sampled, block_bytes], and what the kept elements decode to."""
    parts = [to_bytes(mask)] if layout.mask_bytes else []
    if layout.bits == 32:
        return torch.cat([*parts, kept.view(torch.uint8)], 1), kept
    scales = _scales(kept.abs(), layout)
    codes = _encode(kept, scales, layout)
    stored = scales.to(torch.int16).flatten(1)
    parts += [pack_codes(codes, layout.bits), pad(stored, (0, stored.shape[1] % 2)).view(torch.uint8)]
    return torch.cat(parts, 1), _decode(codes, scales, layout)


def read_body(payload: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    """Mask [sampled, block], and what the kept elements decode to [sampled, kept]."""
    body = payload[HEADER_BYTES:].clone().view(layout.sampled, layout.block_bytes)  # aligned, wherever it lay
    sizes = [layout.mask_bytes, layout.code_bytes, layout.block_bytes - layout.mask_bytes - layout.code_bytes]
    masks, codes, scales = body.split(sizes, 1)
    if layout.mask_bytes:
        mask = to_bits(masks).bool()
        if (mask.sum(1) != layout.kept).any():
            raise ValueError(f"mask: expected {layout.kept} bits in every block. The payload is damaged.")
    else:
        mask = torch.ones(layout.sampled, layout.block, dtype=torch.bool, device=payload.device)
    if layout.bits == 32:
        return mask, codes.contiguous().view(torch.float32)
    stored = scales.contiguous().view(torch.int16)[:, : layout.groups * layout.scales].to(torch.int32) & 0xFFFF
    unpacked = unpack_codes(codes.contiguous(), layout.bits, layout.kept)
    return mask, _decode(unpacked, stored.view(layout.sampled, layout.groups, layout.scales), layout)


def _mixed(words: Tensor) -> Tensor:
    """splitmix64 of 1, 2, 3 …; int64 that wraps."""

    def shifted(z: Tensor, by: int) -> Tensor:
        return z >> by & ((1 << (64 - by)) - 1)

    z = torch.arange(1, len(words) + 1, device=words.device) * (0x9E3779B97F4A7C15 - (1 << 64))
    z = (z ^ shifted(z, 30)) * (0xBF58476D1CE4E5B9 - (1 << 64))
    z = (z ^ shifted(z, 27)) * (0x94D049BB133111EB - (1 << 64))
    return z ^ shifted(z, 31)


def payload_checksum(payload: Tensor) -> Tensor:
    """See fmcompress.ops.payload_checksum."""
    words = payload.clone().view(torch.int32).to(torch.int64) & _WORD
    words[HEADER_BYTES // 4 - 1] = 0
    return ((words * _mixed(words)).sum() >> 32 & _WORD).view(1)


def _header(numel: int, layout: Layout, flags: int) -> bytes:
    return HEADER.pack(
        b"FMCG", 1, flags, layout.bits, 0 if layout.symmetric else 1, numel, layout.seed,
        layout.step, layout.stream, layout.block, layout.sampled, layout.kept, layout.group, 0, 0, 0,
    )  # fmt: skip


def finish(numel: int, layout: Layout, body: Tensor, flags: int = 0) -> Tensor:
    """Header and body [sampled, block_bytes] as one payload, with its checksum."""
    header = torch.frombuffer(bytearray(_header(numel, layout, flags)), dtype=torch.uint8).to(body.device)
    payload = torch.cat((header, body.flatten()))
    payload[HEADER_BYTES - 4 : HEADER_BYTES] = payload_checksum(payload).view(torch.uint8)[:4]
    return payload


def without_numbers(numel: int, layout: Layout, device: torch.device) -> Tensor:
    """The payload of a tensor with an infinity or NaN."""
    body = torch.zeros(layout.sampled * layout.block_bytes, dtype=torch.uint8, device=device)
    return finish(numel, layout, body, NOT_FINITE)
