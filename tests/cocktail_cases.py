"""Layouts and inputs that every implementation of CocktailSGD's compression must get right, bit for bit."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from packing_cases import same_bytes, shifted
from torch import Tensor

from fmcompress import reference
from fmcompress.ops import Layout

FLOATS = (torch.float32, torch.bfloat16, torch.float16)
TINY, LARGEST = 1e-45, 3.4028234e38
BASE = Layout(seed=7, step=3, stream=5, block=256, sampled=2, kept=51, bits=4, group=17, symmetric=True)


class Case(NamedTuple):
    """The arguments of an op, tensors that are changed among them."""

    name: str
    numel: int
    layout: Layout
    kind: str = "normal"
    dtype: torch.dtype = torch.float32
    residual: torch.dtype | None = torch.float32
    scale: float = 1.0
    workers: int = 3


def _any_bits(numel: int, source: torch.Generator) -> Tensor:
    values = torch.randint(-(2**31), 2**31, (numel,), generator=source).to(torch.int32).view(torch.float32)
    return torch.where(values.isfinite(), values / 4, 1.5)


def _halves(numel: int, source: torch.Generator) -> Tensor:
    """Fours of halves up to an integer of seven bits: amid two codes, where a quotient rounded twice shows."""
    top = torch.randint(1, 128, (-(-numel // 4), 1), generator=source).repeat_interleave(4, 1).flatten()[:numel].float()
    return ((torch.rand(numel, generator=source) * 2 - 1) * (2 * top + 1)).trunc().clamp(-2 * top, 2 * top) / 2


def values(kind: str, numel: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    """A vector of one kind, finite unless the kind says otherwise."""
    source = torch.Generator().manual_seed(seed + 1000 * numel)
    normal = torch.randn(numel, generator=source)
    few = torch.tensor([1.0, -1.0, 0.5, -0.5, 0.0, -0.0, 2.0])
    made = {
        "normal": lambda: normal,
        "ties": lambda: few[torch.randint(len(few), (numel,), generator=source)],
        "equal": lambda: torch.full((numel,), -0.3),
        "zero": lambda: torch.zeros(numel),
        "zeros": lambda: torch.where(normal < 0, -0.0, 0.0),
        "denormal": lambda: torch.where(normal.abs() < 1, normal * 1e-40, normal.sign() * TINY),
        "huge": lambda: torch.where(normal.abs() < 1, normal.sign() * LARGEST, normal / 8 * LARGEST),
        "tiny": lambda: normal * torch.where(normal < 0.3, 1e-8, 1e-6),
        "halves": lambda: _halves(numel, source),
        "any": lambda: _any_bits(numel, source),
        "spike": lambda: torch.where(torch.arange(numel) == numel // 3, -1e4, normal * 1e-4),
        "infinite": lambda: torch.where(torch.arange(numel) == numel - 1, torch.inf, normal),
        "nan": lambda: torch.where(torch.arange(numel) == numel // 2, torch.nan, normal),
    }[kind]()
    if kind not in ("infinite", "nan"):
        made = made.clamp(torch.finfo(dtype).min, torch.finfo(dtype).max)
    return made.to(dtype)


KINDS = (
    "normal",
    "ties",
    "equal",
    "zero",
    "zeros",
    "denormal",
    "huge",
    "tiny",
    "any",
    "halves",
    "spike",
    "infinite",
    "nan",
)


def _layouts() -> Iterator[tuple[str, int, Layout]]:
    for bits in (*range(1, 9), 32):
        for symmetric in (True, False):
            yield f"{bits} bits {symmetric}", 1000, BASE._replace(bits=bits, symmetric=symmetric)
    for exponent in range(7, 14):
        block = 1 << exponent
        yield (
            f"blocks of {block}",
            5 * block // 2,
            BASE._replace(block=block, kept=block // 5, group=min(128, block // 5)),
        )
    for kept, group in ((1, 1), (2, 1), (33, 32), (255, 64), (256, 256), (256, 5), (77, 77), (128, 127)):
        for symmetric in (True, False):
            some = BASE._replace(kept=kept, group=group, symmetric=symmetric, bits=3)
            yield f"{kept} in {group} {symmetric}", 1500, some
    for numel, sampled in ((1, 1), (255, 1), (256, 1), (257, 2), (511, 1), (5120, 20), (5121, 7), (9001, 1)):
        yield f"{numel} elements", numel, BASE._replace(sampled=sampled, symmetric=numel % 2 == 0)
    yield "far", 4000, BASE._replace(seed=2**63 - 5, step=2**62 + 11, stream=2**32 - 1, sampled=5)
    yield "far step", 4000, BASE._replace(seed=2**40 + 1, step=2**33 + 7, stream=2**31, sampled=3)
    for numel, sampled in ((40_000, 1), (70_001, 2)):  # several thread blocks for what is not sampled
        yield f"{numel} elements, few blocks", numel, BASE._replace(sampled=sampled)
    for group in (1, 3):
        yield f"1 bit in groups of {group}", 5000, BASE._replace(bits=1, kept=256, group=group, sampled=20)
    yield "whole blocks", 3000, BASE._replace(sampled=12, kept=256, bits=32, group=1)


LAYOUTS = list(_layouts())


def cases() -> Iterator[Case]:
    """Every layout, every kind and every pair of dtypes, though not all of each with all."""
    for name, numel, layout in LAYOUTS:
        yield Case(name, numel, layout)
    for workers in (4, 5, 9):  # more than are decoded at once
        yield Case(f"{workers} workers", 900, BASE, workers=workers)
        yield Case(f"{workers} workers, no mask", 900, BASE._replace(kept=BASE.block), workers=workers)
    for kind in KINDS:
        for bits in (1, 2, 5, 32):
            for symmetric in (True, False) if bits in (2, 5) else (True,):
                how = BASE._replace(bits=bits, symmetric=symmetric, sampled=3)
                yield Case(f"{kind}, {bits} bits {symmetric}", 900, how, kind)
    yield Case("an infinity far behind", 40_000, BASE._replace(sampled=4), "infinite")
    for bits in range(1, 9):
        for symmetric in (True, False):
            how = BASE._replace(bits=bits, symmetric=symmetric, kept=256, group=3, sampled=10)
            yield Case(f"halves, {bits} bits {symmetric}", 2560, how, "halves", residual=None, workers=1)
    for dtype in FLOATS:
        for residual in (torch.float32, torch.bfloat16, None):
            for kind in ("normal", "ties", "huge"):
                how = BASE._replace(symmetric=residual is None, bits=6)
                yield Case(f"{dtype} {residual} {kind}", 1111, how, kind, dtype, residual, scale=0.37)


CASES = list(cases())


def gradient_arguments(case: Case) -> tuple[Tensor, Tensor | None, float]:
    """gradient, residual, scale"""
    residual = None if case.residual is None else 0.5 * values("normal", case.numel, case.residual, 1)
    if residual is not None and case.kind in ("zeros", "denormal", "tiny"):
        residual = values(case.kind, case.numel, case.residual, 2)
    return values(case.kind, case.numel, case.dtype), residual, case.scale


def delta_arguments(case: Case) -> tuple[Tensor, Tensor]:
    """local, shared; of one kind, so that differences of huge values may be infinite"""
    shared = values("normal" if case.kind in ("infinite", "nan") else case.kind, case.numel, case.dtype, 3)
    return values(case.kind, case.numel, case.dtype), shared / 2


def payloads_of(case: Case) -> Tensor:
    """What the workers of a case send; the sum of huge ones is finite."""
    scale = 0.5 / case.workers if case.kind in ("huge", "any") else 1.0
    made = [
        reference.compress_gradient_(values(case.kind, case.numel, seed=seed), None, scale, *case.layout)
        for seed in range(case.workers)
    ]
    return torch.stack(made)


def mean_arguments(case: Case) -> tuple[Tensor, Tensor | None, int]:
    """payloads, residual, numel"""
    return payloads_of(case), gradient_arguments(case)[1], case.numel


def add_arguments(case: Case) -> tuple[Tensor, Tensor, float]:
    """payload, out, scale"""
    return payloads_of(case)[0], values("normal", case.numel, case.dtype, 4), case.scale


ARGUMENTS: dict[str, Callable[[Case], tuple]] = {
    "compress_gradient_": gradient_arguments,
    "compress_delta_": delta_arguments,
    "compress_mean_": mean_arguments,
    "add_payload_": add_arguments,
}


def copied(arguments: tuple, change: Callable[[Tensor], Tensor] = Tensor.clone) -> tuple:
    return tuple(change(a) if isinstance(a, Tensor) else a for a in arguments)


def check_op(name: str, op: Callable[..., Tensor | None], cases: Sequence[Case] = CASES) -> None:
    """What an op returns and all that it changes, aligned or not, against the reference."""
    for case in cases:
        arguments = ARGUMENTS[name](case)
        expected = copied(arguments)
        payload = getattr(reference, name)(*expected, *case.layout)
        for change in (Tensor.clone, shifted):
            actual = copied(arguments, change)
            returned = op(*actual, *case.layout)
            assert (payload is None) == (returned is None), case
            pairs = [(returned, payload)] if payload is not None else []
            pairs += [pair for pair in zip(actual, expected, strict=True) if isinstance(pair[0], Tensor)]
            for place, (ours, theirs) in enumerate(pairs):
                assert same_bytes(ours, theirs), (case, place)


def damaged() -> Iterator[tuple[Case, Tensor]]:
    """Payloads of any bytes at all, though not of flags."""
    for case in CASES[::5]:
        source = torch.Generator().manual_seed(case.numel)
        for density in (0.0, 0.1, 0.5, 1.0):
            payloads = torch.randint(256, (case.workers, case.layout.payload_bytes), generator=source)
            payloads[torch.rand(payloads.shape, generator=source) > density] = 0 if density < 1 else 255
            payloads[:, 5] = 0
            yield case, payloads.to(torch.uint8)


def check_damaged(mean: Callable[..., Tensor], add: Callable[..., None]) -> None:
    """Whatever a payload holds: either ValueError, or numbers, whose like come again."""
    for case, payloads in damaged():
        outs = []
        for _ in range(2):
            residual, out = torch.zeros(case.numel), torch.ones(case.numel, dtype=case.dtype)
            try:
                outs.append((mean(payloads, residual, case.numel, *case.layout), residual, out))
                add(payloads[0], out, 1.0, *case.layout)
            except ValueError:
                break
        assert len(outs) < 2 or all(map(same_bytes, *outs)), case


def check_overflow(op: Callable[..., Tensor]) -> None:
    """The sum of a gradient and a residual may be infinite though both are not; what then stays may be any NaN."""
    for bits in (1, 2, 4, 8, 32):
        for symmetric in (True, False):
            layout = BASE._replace(bits=bits, symmetric=symmetric, sampled=3)
            huge, left = values("huge", 1000), values("huge", 1000, seed=1)
            expected, actual = left.clone(), left.clone()
            payload = reference.compress_gradient_(huge, expected, 1.0, *layout)
            assert same_bytes(op(huge, actual, 1.0, *layout), payload), layout
            assert not expected.isfinite().all()
            assert torch.equal(actual.isnan(), expected.isnan())
            assert torch.equal(actual[~actual.isnan()], expected[~expected.isnan()]), layout


def check_checksum(op: Callable[[Tensor], Tensor]) -> None:
    """Any bytes from a bare header to some 100 KB."""
    for words in (16, 17, 1000, 25_001):
        payload = torch.randint(256, (4 * words,), generator=torch.Generator().manual_seed(words), dtype=torch.uint8)
        assert torch.equal(op(payload), reference.payload_checksum(payload)), words
