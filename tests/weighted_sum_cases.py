"""Weighted sums that every implementation must get right, to the bit, checked against the reference."""

from collections.abc import Callable, Iterator

import torch
from admm_step_cases import same_numbers
from packing_cases import same_bytes, shifted
from torch import Tensor

from fmcompress import reference

NUMBERS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
PAIRS = [(source, torch.float64) for source in NUMBERS] + [(source, torch.float32) for source in NUMBERS[:3]]
SHAPES = [(1, 0), (1, 1), (3, 7), (8, 64), (2, 1029)]
BITS = {torch.float16: 11, torch.bfloat16: 8, torch.float32: 24, torch.float64: 53}  # of a significand
LEAST = {torch.float16: -14, torch.bfloat16: -126, torch.float32: -126, torch.float64: -1022}  # exponents of normals
MOST = {torch.float16: 15, torch.bfloat16: 127, torch.float32: 127, torch.float64: 1023}


def smooth(rows: int, count: int, source: torch.dtype, total: torch.dtype) -> tuple[Tensor, Tensor]:
    """Weights of a model, and what they are merged by."""
    generator = torch.Generator().manual_seed(rows + 1000 * count)
    sources = torch.randn(rows, count, generator=generator, dtype=torch.float64) / 50
    weights = torch.rand(rows, generator=generator, dtype=torch.float64) - 0.2
    return sources.to(source), weights.to(total)


def extremes(source: torch.dtype, total: torch.dtype, out: torch.dtype) -> tuple[Tensor, Tensor]:
    """Any bits at all: of every exponent, subnormal, infinite, NaN, and zeros of both signs."""
    generator = torch.Generator().manual_seed(7)
    raw = torch.randint(256, (3, 600 * source.itemsize), generator=generator, dtype=torch.uint8).view(source)
    raw[:, :60] = torch.tensor([0.0, -0.0, 1.0, -1.0, float("inf"), -float("inf")]).repeat(10)
    raw[1:, :30] = raw[:1, :30]
    raw[1:, 60:] *= torch.rand(540, generator=generator) < 0.5
    scale = 2.0 ** (MOST[out] - MOST[source]) if MOST[out] < MOST[source] else 1.0
    return raw, torch.tensor([scale, -scale / 3, scale], dtype=torch.float64).to(total)


def ties(source: torch.dtype, total: torch.dtype, out: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
    """Sums halfway between two numbers of out and a little beside, ordinary, subnormal and about to overflow."""
    digits = (torch.tensor([1, 2, 3]), torch.tensor([0, 1, -1, 3]), torch.tensor([0, 1, -1]))
    sources = torch.cartesian_prod(*digits).T.double()
    sources = torch.cat([sources, -sources], 1).to(source)
    beside = -40 if total == torch.float64 else -22
    weights = torch.tensor([1.0, 2.0 ** -BITS[out], 2.0**beside], dtype=torch.float64)
    for exponent in {0, -1, LEAST[out], LEAST[out] - 3, LEAST[out] - BITS[out], MOST[out], MOST[out] - 1}:
        scaled = (weights * 2.0**exponent).to(total)
        yield sources, scaled
        yield torch.cat([sources.new_full((1, sources.shape[1]), 2), sources[1:]]), scaled * (1 - 2.0 ** -BITS[out])


def every_case(source: torch.dtype, total: torch.dtype, out: torch.dtype) -> Iterator[tuple[str, Tensor, Tensor]]:
    for rows, count in SHAPES:
        yield f"smooth {rows} {count}", *smooth(rows, count, source, total)
    sources, weights = smooth(3, 1028, source, total)
    yield "unaligned", shifted(sources), weights
    yield "extremes", *extremes(source, total, out)
    sources, weights = smooth(3, 20, source, total)
    yield "far beyond the largest", sources, weights * 2.0 ** MOST[total]
    for sources, weights in ties(source, total, out):
        yield f"ties {weights[0]}", sources, weights


def check_weighted_sum(weighted_sum_: Callable[..., Tensor]) -> None:
    """The sums and the count, bit for bit; rows and weights stay."""
    for source, total in PAIRS:
        for out in NUMBERS:
            for name, sources, weights in every_case(source, total, out):
                case = (source, total, out, name)
                kept = sources.clone(), weights.clone()
                expected, actual = (torch.full((sources.shape[1],), 7, dtype=out) for _ in range(2))
                if name == "unaligned":
                    actual = shifted(actual)
                expected_count = reference.weighted_sum_(expected, sources, weights)
                count = weighted_sum_(actual, sources, weights)
                assert same_numbers(actual, expected), case
                assert (count.dtype, count.shape) == (torch.int64, ()), case
                assert count.item() == expected_count.item(), case
                assert same_bytes(sources, kept[0]), case
                assert same_bytes(weights, kept[1]), case
