"""Averages and task arithmetic: weighted sums of the models, entry by entry."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .. import ops
from ..errors import ConfigError
from .method import Blocks, MergeBlock, TensorSettings


def linear(settings: TensorSettings, blocks: Blocks) -> MergeBlock:
    """The sum of weight times model; with normalize weights are divided by their sum first (Wortsman et al. 2022)."""
    return weighted_blocks(shares(settings), settings.sum_dtype)


def task_arithmetic(settings: TensorSettings, blocks: Blocks) -> MergeBlock:
    """The base plus scale times the sum of weight times change (Ilharco et al. 2023).

    Summed as base (1 - sum of c) + sum of c times model, with c = scale times weight: the same in real numbers.
    """
    changes = [settings.scale * share for share in shares(settings)]
    return weighted_blocks([1 - _total(settings.name, changes), *changes], settings.sum_dtype)


def shares(settings: TensorSettings) -> list[float]:
    """The weights, divided by their sum with normalize. Raises ConfigError if that is 0."""
    weights = settings.weights
    if not settings.normalize:
        return list(weights)
    total = _total(settings.name, weights)
    if abs(total) <= 1e-8 * _total(settings.name, [abs(weight) for weight in weights]):
        raise ConfigError(
            f"{settings.name}: weights {list(weights)} add up to 0 and cannot be normalized. Set normalize: false."
        )
    return [weight / total for weight in weights]


def _total(name: str, weights: Sequence[float]) -> float:
    try:
        return math.fsum(weights)
    except (OverflowError, ValueError):  # of infinities of either sign it is the latter
        raise ConfigError(f"{name}: weights {list(weights)} are too large to be added. Choose smaller ones.") from None


def weighted_blocks(coefficients: Sequence[float], dtype: torch.dtype) -> MergeBlock:
    """What merges a block by one coefficient a row, summed in dtype, or float64 where that is stored.

    Rows of coefficient 0 are left out, so that 1 and 0 give back a row to the bit, -0 included; they still must be
    finite.
    """
    if not all(map(math.isfinite, coefficients)):
        raise ConfigError(f"weight: expected finite weights after normalizing and scaling, got {list(coefficients)}.")
    used = [row for row, coefficient in enumerate(coefficients) if coefficient] or [0]
    unused = [row for row in range(len(coefficients)) if row not in used]
    weights = {d: torch.tensor([coefficients[row] for row in used], dtype=d) for d in {dtype, torch.float64}}

    def merge(begin: int, sources: Tensor, out: Tensor) -> Tensor:
        own = weights[torch.float64 if sources.dtype == torch.float64 else dtype]
        if not unused:
            return ops.weighted_sum_(out, sources, own)
        strangers = (~sources[unused].isfinite()).sum()
        return ops.weighted_sum_(out, sources[used], own) + strangers

    return merge
