"""CocktailSGD's compression in plain PyTorch, all sampled blocks at once."""

import torch
from torch import Tensor

from .._ops import NOT_FINITE, Layout
from .cocktail_payload import finish, largest, like, read_body, without_numbers, write_body

_WORD = 0xFFFFFFFF


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


def _compress(values: Tensor, numel: int, layout: Layout) -> tuple[Tensor, Tensor]:
    """Payload of values [sampled, block], and what they decode to [sampled, block]."""
    mask = largest(values, layout.kept)
    body, decoded = write_body(values[mask].view(layout.sampled, layout.kept), mask, layout)
    sent = torch.zeros_like(values)
    sent[mask] = decoded.flatten()
    return finish(numel, layout, body), sent


def _gather(tensor: Tensor, places: Tensor, inside: Tensor) -> Tensor:
    return torch.where(inside, tensor[places].float(), 0.0)


def _put(tensor: Tensor, values: Tensor, places: Tensor, inside: Tensor) -> None:
    tensor[places[inside]] = values[inside].to(tensor.dtype)


def compress_gradient_(gradient: Tensor, residual: Tensor | None, scale: float, *layout: int) -> Tensor:
    """See fmcompress.ops.compress_gradient_."""
    how = Layout(*layout)  # type: ignore[arg-type]
    scaled = gradient.float() * torch.tensor(scale, dtype=torch.float32)  # as a float32, not as a double
    if not scaled.isfinite().all():
        return without_numbers(len(gradient), how, gradient.device)
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
        return without_numbers(len(local), how, local.device)
    payload, sent = _compress(delta, len(local), how)
    _put(local, own - sent, places, inside)
    return payload


def compress_mean_(payloads: Tensor, residual: Tensor | None, numel: int, *layout: int) -> Tensor:
    """See fmcompress.ops.compress_mean_."""
    how = Layout(*layout)  # type: ignore[arg-type]
    if (payloads[:, 5] & NOT_FINITE).any():
        return without_numbers(numel, how, payloads.device)
    total = torch.zeros(how.sampled, how.block, device=payloads.device)
    for payload in payloads:
        mask, decoded = read_body(payload, how)
        total[mask] += decoded.flatten()
    total = total / like(total, len(payloads))
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
    if payload[5] & NOT_FINITE:
        out.fill_(torch.nan)
        return
    mask, decoded = read_body(payload, how)
    places, inside = _elements(len(out), how, out.device)
    at = places[mask & inside]
    decoded = decoded.flatten()[inside[mask]]
    out[at] = (out[at].float() + decoded * torch.tensor(scale, dtype=torch.float32)).to(out.dtype)
