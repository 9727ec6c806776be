"""Spherical interpolation between two models: along the arc between a tensor's two directions."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from .linear import weighted_blocks
from .method import Blocks, MergeBlock, TensorSettings

CHUNK = 4096  # entries that are summed in one fixed order; blocks begin at multiples of it
LINEAR_ABOVE, SMALLEST_NORM = 0.9995, 1e-8  # as mergekit has them


def slerp(settings: TensorSettings, blocks: Blocks) -> MergeBlock:
    """sin((1 - t) a) / sin(a) times the first model plus sin(t a) / sin(a) times the second (Shoemake 1985).

    a is the angle between the two tensors as vectors. Where they are parallel, the cosine above 0.9995 in magnitude, it
    is (1 - t) first + t second. A tensor shorter than 1e-8, such as one of zeros, has no direction and counts as at a
    right angle, or nearly so, as in mergekit. Lengths and angle are in float64.
    """
    first, second = interpolation(settings.t, cosine(blocks))
    return weighted_blocks([first, second], settings.sum_dtype)


def interpolation(t: float, cosine: float) -> tuple[float, float]:
    """The coefficients of the two tensors at t."""
    if not abs(cosine) <= LINEAR_ABOVE:
        return 1 - t, t
    angle = math.acos(cosine)
    return math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)


def cosine(blocks: Blocks) -> float:
    """Of the angle between two tensors; a tensor shorter than 1e-8 is taken as it is, as mergekit does."""
    sums: list[list[float]] = [[], [], []]
    for _, sources in blocks():
        for piece in pieces(sources):
            a, b = piece.double()
            for parts, products in zip(sums, (a * a, b * b, a * b), strict=True):
                parts.extend(chunk_sums(products))
    of_first, of_second, dot = (_total(parts) for parts in sums)
    lengths = [math.sqrt(of) if of > SMALLEST_NORM**2 else 1.0 for of in (of_first, of_second)]
    return max(-1.0, min(1.0, dot / lengths[0] / lengths[1]))


def pieces(sources: Tensor, entries: int = 8 * CHUNK) -> Iterator[Tensor]:
    """Columns of a block, so few at a time that their float64 copies stay in the cache."""
    return iter(sources.split(entries, dim=1))


def chunk_sums(values: Tensor) -> list[float]:
    """The sums of every 4096 entries, by halves: additions of entries alone, the same on any number of threads."""
    chunks = torch.nn.functional.pad(values, (0, -len(values) % CHUNK)).view(-1, CHUNK)
    while chunks.shape[1] > 1:
        half = chunks.shape[1] // 2
        chunks = chunks[:, :half] + chunks[:, half:]
    return [float(one) for one in chunks[:, 0].tolist()]


def _total(parts: list[float]) -> float:
    """Their sum, rounded once; NaN where some are infinite or NaN, which the merged tensor shows."""
    return math.fsum(parts) if all(map(math.isfinite, parts)) else math.nan
