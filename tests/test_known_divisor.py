"""Quotients by a divisor whose reciprocal is at hand, as the sweep on CUDA computes them, are those of IEEE; so are levels."""

import itertools
import shutil
from pathlib import Path

import emulation
import pytest
import torch
from torch import Tensor

SMALLEST_NORMAL = torch.finfo(torch.float32).tiny
SPECIAL = [0.0, -0.0, 1.0, -1.0, 3.0, 1e-45, 1e-40, 1.2e-38, 3.4e38, -3.4e38, float("inf"), -float("inf"), float("nan")]
SPECIAL += [2.0**-60, 2.0**60, 2.0**-61, 2.0**61, 0.1, 2.0**-126]


@pytest.fixture(scope="module")
def ops(tmp_path_factory) -> emulation.Ops:
    if shutil.which("g++") is None:
        pytest.skip("no g++ on this machine")
    return emulation.Ops(emulation.build(Path(__file__).parents[1], tmp_path_factory.mktemp("emulated")), False)


def assert_quotients(ops: emulation.Ops, numbers: Tensor, divisors: Tensor) -> None:
    """Of pairs of floats; below the normal numbers the last bit may differ."""
    out = emulation.Guarded(torch.empty_like(numbers))
    ops.call("quotients", [numbers, divisors, out], len(numbers))
    found, expected = out.released(), numbers / divisors
    assert torch.equal(found.isnan(), expected.isnan())
    normal = (expected.abs() >= SMALLEST_NORMAL) | (expected == 0)
    wrong = normal & (found.view(torch.int32) != expected.view(torch.int32))
    assert not wrong.any(), (numbers[wrong][:3], divisors[wrong][:3])
    below = ~normal & ~expected.isnan()
    assert ((found - expected)[below].abs() <= 2.0**-149).all()


def significands(count: int, source: torch.Generator) -> Tensor:
    """Integers of 24 bits."""
    return torch.randint(1 << 23, 1 << 24, (count,), generator=source)


def test_of_special_numbers(ops):
    pairs = torch.tensor(list(itertools.product(SPECIAL, SPECIAL)), dtype=torch.float32)
    assert_quotients(ops, pairs[:, 0].contiguous(), pairs[:, 1].contiguous())


@pytest.mark.parametrize("exponents", [1, 20, 140])
def test_of_random_numbers(ops, exponents):
    source = torch.Generator().manual_seed(exponents)
    parts = []
    for _ in range(2):
        exponent = torch.randint(-exponents, exponents, (2_000_000,), generator=source) - 23
        sign = torch.randint(0, 2, exponent.shape, generator=source) * 2 - 1
        parts.append((sign * significands(len(exponent), source)).double().ldexp(exponent).float())
    assert_quotients(ops, *parts)


@pytest.mark.parametrize("residue", [-3, -1, 1, 3, 5])
@pytest.mark.parametrize("bits", [24, 25])
def test_of_numbers_whose_quotient_is_nearly_half_way(ops, residue, bits):
    """divisor * half_way = number * 2^bits + residue, where half_way has 25 bits: no quotient is nearer to one."""
    divisors = significands(2_000_000, torch.Generator().manual_seed(bits)) | 1
    inverse = divisors.clone()
    for _ in range(5):  # Newton's steps modulo a power of two: 3, 6, 12, 24, 48 bits
        inverse = inverse * (2 - divisors * inverse)
    half_way = (residue * inverse) % (1 << bits)
    half_way += ((half_way < 1 << 24) & (bits == 24)) << 24
    numbers = (divisors * half_way - residue) >> bits
    keep = (half_way >= 1 << 24) & (numbers < 1 << 24)
    assert keep.float().mean() > 0.2
    assert (numbers * (1 << bits) + residue == divisors * half_way)[keep].all()
    assert_quotients(ops, numbers[keep].float(), divisors[keep].float())


def assert_levels(ops: emulation.Ops, weights: Tensor, scales: Tensor, zeros: Tensor, bits: int) -> None:
    """Of as many weights, each with a grid of its own."""
    top = 2**bits - 1
    expected = (weights / scales).clamp(-zeros, top - zeros).round()
    out = emulation.Guarded(torch.empty_like(weights))
    ops.call_for(weights.dtype, "levels", [weights, scales, zeros, out], len(weights), top)
    found = out.released()
    wrong = (found != expected) & ~(found.isnan() & expected.isnan())
    assert not wrong.any(), (weights[wrong][:3], scales[wrong][:3], found[wrong][:3], expected[wrong][:3])
    assert not (found.signbit() & (found == 0)).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bits", [2, 8])
def test_levels_of_special_numbers(ops, dtype, bits):
    """Scales that are 0, infinite, NaN or below zero among them: no kernel refuses them."""
    far = [torch.finfo(dtype).tiny * part for part in (2.0**-20, 0.7, 1, 2)] + [torch.finfo(dtype).max]
    numbers = [*SPECIAL, *far, -far[0], 2.0**63, 2.0**-64, 2.0**126, 2.0**127]
    cases = itertools.product(numbers, numbers, [0.0, 1.0, 2.0**bits - 1])
    assert_levels(ops, *(part.contiguous() for part in torch.tensor(list(cases), dtype=dtype).T), bits)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("exponents", [1, 100])
def test_levels_of_weights_that_fall_between_two(ops, dtype, exponents):
    """Within four steps of a float of where one level gives way to the next, on grids of any size."""
    source = torch.Generator().manual_seed(exponents)
    numbers = torch.rand(300_000, generator=source, dtype=dtype) + 1
    exponent = torch.randint(-exponents, exponents, numbers.shape, generator=source)
    exponent *= 1 if dtype == torch.float32 else 9
    scales = numbers.ldexp(exponent)
    zeros = torch.randint(256, numbers.shape, generator=source).to(dtype)
    between = scales * (torch.randint(256, numbers.shape, generator=source) - zeros + 0.5)
    integers = torch.int32 if dtype == torch.float32 else torch.int64
    weights = between.view(integers) + torch.randint(-4, 5, numbers.shape, generator=source).to(integers)
    assert_levels(ops, weights.view(dtype), scales, zeros, 8)
