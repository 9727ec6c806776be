"""Gradients, residuals and layouts on which a back-end must agree with the reference in every bit."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fmcompress import reference
from fmcompress._ops.cocktail import CODE_BITS, HEADER_BYTES, Layout

FLOATS = (torch.float32, torch.bfloat16, torch.float16)
KINDS = ("normal", "ties", "zero", "equal", "signed zeros", "denormal", "huge", "sparse", "wide")


class Case(NamedTuple):
    """One tensor and how it is compressed."""

    layout: Layout
    gradient: Tensor
    residual: Tensor | None
    scale: float


def values(kind: str, count: int, dtype: torch.dtype, seed: int) -> Tensor:
    """Finite ones; "huge" fills the range of float32."""
    source = torch.Generator().manual_seed(seed)
    x = torch.randn(count, generator=source)
    rare = torch.rand(count, generator=source) < 0.05
    made = {
        "normal": x,
        "ties": (x * 2).round() / 2,
        "zero": x * 0,
        "equal": x.sign() * 0.37,
        "signed zeros": torch.where(rare, x, x * 0),
        "denormal": x * 1e-39,
        "huge": x.clamp(-3, 3) * 1.1e38,
        "sparse": torch.where(rare, x, 0.0),
        "wide": x * torch.exp(10 * torch.randn(count, generator=source)),
    }[kind]
    return made.clamp(-torch.finfo(dtype).max, torch.finfo(dtype).max).to(dtype)


def layouts() -> Iterator[tuple[int, Layout]]:
    """Numbers of elements and layouts: every width and quantizer, every block, extreme counts and groups."""
    which = 0
    for block in (1 << i for i in range(7, 14)):
        for bits in CODE_BITS:
            numel = (block // 3, 2 * block, 2 * block + 1, 5 * block - 7)[which % 4]
            blocks = -(-numel // block)
            kept = (1, block // 5, block, block // 2 | 1, block - 1)[which % 5]
            group = min(kept, (kept, 1, 7, 128)[which // 2 % 4])
            place = ((1 << 62) + which, (1 << 61) + 3, 0xFFFFFFFF) if which % 6 == 0 else (which, which, which % 3)
            sampled = (1, blocks, (blocks + 1) // 2)[which % 3]
            yield numel, Layout(*place, block, sampled, kept, bits, group, bool(which // 3 % 2))
            which += 1


def cases() -> Iterator[Case]:
    """All of them, deterministic."""
    residuals = (torch.float32, torch.bfloat16, None)
    for which, (numel, layout) in enumerate(layouts()):
        gradient = values(KINDS[which % len(KINDS)], numel, FLOATS[which // 2 % 3], which)
        dtype = residuals[which // 4 % 3]
        residual = None if dtype is None else values(KINDS[which * 5 % 7], numel, dtype, which + 1000)
        yield Case(layout, gradient, residual, (1.0, 1 / 3, -2.0, 1e-30)[which % 4])


def same_numbers(actual: Tensor | None, expected: Tensor | None) -> bool:
    """In every bit, but that all NaN are one."""
    if actual is None or expected is None:
        return actual is expected
    if actual.dtype == torch.uint8:
        return torch.equal(actual, expected)
    integers = torch.int32 if actual.dtype == torch.float32 else torch.int16
    numbers = [torch.where(t.isnan(), 0.0, t).to(t.dtype).view(integers) for t in (actual, expected)]
    return torch.equal(actual.isnan(), expected.isnan()) and torch.equal(*numbers)


def any_body(payload: Tensor, layout: Layout, seed: int) -> Tensor:
    """The same masks, beside codes and scales of any bits."""
    damaged = payload.clone()
    parts = damaged[HEADER_BYTES:].view(layout.sampled, layout.block_bytes)[:, layout.mask_bytes :]
    parts.random_(0, 256, generator=torch.Generator().manual_seed(seed))
    return damaged


def copied(tensor: Tensor | None) -> Tensor | None:
    """A tensor of its own."""
    return None if tensor is None else tensor.clone()


def changed(op: str, by: Any, *arguments: Any) -> list[Tensor | None]:
    """What an op returns, and its tensors after it."""
    held = [copied(a) if isinstance(a, Tensor) else a for a in arguments]
    result = getattr(by, op)(*held)
    return [result, *(a for a in held if isinstance(a, Tensor))]


def check_case(by: Any, case: Case, seed: int) -> None:
    """Every op on one case; AssertionError names the op."""
    layout, gradient, residual, scale = case

    def check(op: str, *arguments: Any) -> Tensor | None:
        expected = changed(op, reference, *arguments)
        actual = changed(op, by, *arguments)
        assert all(map(same_numbers, actual, expected)), (op, case.layout, len(gradient), gradient.dtype)
        return expected[0]

    payload = check("compress_gradient_", gradient, residual, scale, *layout)
    shared = values(KINDS[seed % 4], len(gradient), FLOATS[seed % 3], seed)
    delta = check("compress_delta_", gradient, shared, *layout)
    assert payload is not None
    assert delta is not None
    damaged = any_body(payload, layout, seed)
    for sent in (payload, damaged):
        check("add_payload_", sent, shared, scale, *layout)
    largest = max(t.float().abs().max() for t in (gradient, residual) if t is not None)
    if largest < 1e37:  # else the sum is not finite, and the bits of a NaN are anybody's
        check("compress_mean_", torch.stack((payload, delta, payload)), residual, len(gradient), *layout)
    changed("compress_mean_", by, torch.stack((payload, damaged)), residual, len(gradient), *layout)  # it returns
    assert torch.equal(by.payload_checksum(damaged), reference.payload_checksum(damaged))


def check_all(by: Any) -> None:
    """Every case."""
    for seed, case in enumerate(cases()):
        check_case(by, case, seed)
