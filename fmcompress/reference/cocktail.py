"""CocktailSGD's compression in plain PyTorch, all sampled blocks at once; docs/wire-format.md in code."""

import struct

import torch
from torch import Tensor
from torch.nn.functional import pad

from .._ops import HEADER_BYTES, Layout
from .packing import pack_codes, to_bits, to_bytes, unpack_codes

_WORD = 0xFFFFFFFF
_NOT_FINITE = 1  # the flag
_LARGEST_SCALE = 0x7F7F  # the largest finite bfloat16


def _philox(seed: int, step_of: Tensor, strata: Tensor, stream: int) -> Tensor:
    """The first word of Philox4x32-10 for every stratum (Salmon et al. 2011); all int64 below 2^32."""
    keys = [seed & _WORD, seed >> 32]
    words = [strata, torch.full_like(strata, stream), step_of & _WORD, step_of >> 32]
    for _ in range(10):
        first, second = words[0] * 0xD2511F53, words[2] * 0xCD9E8D57  # wraps; the halves of it are right
        words = [
            (second >> 32 & _WORD) ^ words[1] ^ keys[0],
            second & _WORD,
            (first >> 32 & _WORD) ^ words[3] ^ keys[1],
            first & _WORD,
        ]
        keys = [(keys[0] + 0x9E3779B9) & _WORD, (keys[1] + 0xBB67AE85) & _WORD]
    return words[0]


def sampled_blocks(numel: int, layout: Layout) -> Tensor:
    """The blocks of a payload, ascending. [sampled] int64"""
    blocks = -(-numel // layout.block)
    edges = torch.arange(layout.sampled + 1) * blocks // layout.sampled
    begin, size = edges[:-1], edges[1:] - edges[:-1]
    epoch = torch.div(torch.full_like(size, layout.step), size, rounding_mode="floor")
    word = _philox(layout.seed, epoch, torch.arange(layout.sampled), layout.stream)
    return begin + ((word * size >> 32) + (layout.step % size)) % size


def _elements(numel: int, layout: Layout, device: torch.device) -> tuple[Tensor, Tensor]:
    """Where the elements of the sampled blocks are, and which of them exist. [sampled, block] int64, bool"""
    blocks = sampled_blocks(numel, layout).to(device)
    places = blocks[:, None] * layout.block + torch.arange(layout.block, device=device)
    inside = places < numel
    return torch.where(inside, places, 0), inside


def _largest(values: Tensor, kept: int) -> Tensor:
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


def _like(tensor: Tensor, number: float) -> Tensor:
    """The number in every place, for quotients that are rounded once: PyTorch makes a number over a tensor, and on a
    GPU a tensor over a number, a product with the reciprocal."""
    return torch.full_like(tensor, number)


def _up_to_scale(values: Tensor) -> Tensor:
    """Bits of the bfloat16 at or above values that are not negative. int32"""
    return ((values.view(torch.int32) + 0xFFFF) >> 16).clamp(max=_LARGEST_SCALE)


def _mean(magnitudes: Tensor, layout: Layout) -> Tensor:
    high = magnitudes.amax(2, keepdim=True)
    units = _rounded(magnitudes * _finite_or_zero(_like(high, 65535.0) / high)).to(torch.int64).sum(2)
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
    quotient = _rounded((kept.abs() - low) * _finite_or_zero(_like(width, levels) / width))
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
        return (code - middle) * (width / _like(width, levels))
    magnitude = low + (code & (middle - 1)) * (width / _like(width, levels))
    return torch.where(code >= middle, -magnitude, magnitude)


def _write_body(kept: Tensor, mask: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    """Body [sampled, block_bytes], and what the kept elements decode to."""
    parts = [to_bytes(mask)] if layout.mask_bytes else []
    if layout.bits == 32:
        return torch.cat([*parts, kept.view(torch.uint8)], 1), kept
    scales = _scales(kept.abs(), layout)
    codes = _encode(kept, scales, layout)
    stored = scales.to(torch.int16).flatten(1)
    parts += [pack_codes(codes, layout.bits), pad(stored, (0, stored.shape[1] % 2)).view(torch.uint8)]
    return torch.cat(parts, 1), _decode(codes, scales, layout)


def _read_body(payload: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
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
    return struct.pack(
        "<4sBBBBQQQIIIIIIII", b"FMCG", 1, flags, layout.bits, 0 if layout.symmetric else 1, numel, layout.seed,
        layout.step, layout.stream, layout.block, layout.sampled, layout.kept, layout.group, 0, 0, 0,
    )  # fmt: skip


def _finish(numel: int, layout: Layout, body: Tensor, flags: int = 0) -> Tensor:
    header = torch.frombuffer(bytearray(_header(numel, layout, flags)), dtype=torch.uint8).to(body.device)
    payload = torch.cat((header, body.flatten()))
    payload[HEADER_BYTES - 4 : HEADER_BYTES] = payload_checksum(payload).view(torch.uint8)[:4]
    return payload


def _without_numbers(numel: int, layout: Layout, device: torch.device) -> Tensor:
    body = torch.zeros(layout.sampled * layout.block_bytes, dtype=torch.uint8, device=device)
    return _finish(numel, layout, body, _NOT_FINITE)


def _compress(values: Tensor, numel: int, layout: Layout) -> tuple[Tensor, Tensor]:
    """Payload of values [sampled, block], and what they decode to [sampled, block]."""
    mask = _largest(values, layout.kept)
    body, decoded = _write_body(values[mask].view(layout.sampled, layout.kept), mask, layout)
    sent = torch.zeros_like(values)
    sent[mask] = decoded.flatten()
    return _finish(numel, layout, body), sent


def _gather(tensor: Tensor, places: Tensor, inside: Tensor) -> Tensor:
    return torch.where(inside, tensor[places].float(), 0.0)


def _put(tensor: Tensor, values: Tensor, places: Tensor, inside: Tensor) -> None:
    tensor[places[inside]] = values[inside].to(tensor.dtype)


def compress_gradient_(gradient: Tensor, residual: Tensor | None, scale: float, *layout: int) -> Tensor:
    """See fmcompress.ops.compress_gradient_."""
    how = Layout(*layout)  # type: ignore[arg-type]
    scaled = gradient.float() * torch.tensor(scale, dtype=torch.float32)  # as a float32, not as a double
    if not scaled.isfinite().all():
        return _without_numbers(len(gradient), how, gradient.device)
    places, inside = _elements(len(gradient), how, gradient.device)
    total = scaled if residual is None else scaled + residual.float()
    payload, sent = _compress(_gather(total, places, inside), len(gradient), how)
    if residual is not None:
        residual.copy_(total)
        _put(residual, _gather(total, places, inside) - sent, places, inside)
    return payload


def compress_delta_(local: Tensor, shared: Tensor, *layout: int) -> Tensor:
    """See fmcompress.ops.compress_delta_."""
    how = Layout(*layout)  # type: ignore[arg-type]
    places, inside = _elements(len(local), how, local.device)
    own = _gather(local, places, inside)
    delta = own - _gather(shared, places, inside)
    if not delta.isfinite().all():
        return _without_numbers(len(local), how, local.device)
    payload, sent = _compress(delta, len(local), how)
    _put(local, own - sent, places, inside)
    return payload


def compress_mean_(payloads: Tensor, residual: Tensor | None, numel: int, *layout: int) -> Tensor:
    """See fmcompress.ops.compress_mean_."""
    how = Layout(*layout)  # type: ignore[arg-type]
    if (payloads[:, 5] & _NOT_FINITE).any():
        return _without_numbers(numel, how, payloads.device)
    total = torch.zeros(how.sampled, how.block, device=payloads.device)
    for payload in payloads:
        mask, decoded = _read_body(payload, how)
        total[mask] += decoded.flatten()
    total = total / _like(total, len(payloads))
    places, inside = _elements(numel, how, payloads.device)
    total = torch.where(inside, total, 0.0)
    if residual is not None:
        total = total + _gather(residual, places, inside)
    payload, sent = _compress(total, numel, how)
    if residual is not None:
        _put(residual, total - sent, places, inside)
    return payload


def add_payload_(payload: Tensor, out: Tensor, scale: float, *layout: int) -> None:
    """See fmcompress.ops.add_payload_."""
    how = Layout(*layout)  # type: ignore[arg-type]
    if payload[5] & _NOT_FINITE:
        out.fill_(torch.nan)
        return
    mask, decoded = _read_body(payload, how)
    places, inside = _elements(len(out), how, out.device)
    at = places[mask & inside]
    decoded = decoded.flatten()[inside[mask]]
    out[at] = (out[at].float() + decoded * torch.tensor(scale, dtype=torch.float32)).to(out.dtype)
