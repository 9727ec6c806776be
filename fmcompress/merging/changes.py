"""What TIES and DARE share: changes to a base of which some entries are kept, combined and added to it."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from .. import ops
from .method import MergeBlock, TensorSettings

PIECE = 1 << 15  # entries that are merged at once, so that all of them stay in the cache

# (place of the model, index of the first entry, base [count], model [count] as stored) -> [count] bool, None for all
Keep = Callable[[int, int, Tensor, Tensor], Tensor | None]
# (base [count], weighted changes [count] of one model after the other) -> what they are together [count]
Combine = Callable[[Tensor, Iterable[Tensor]], Tensor]


def merge_changes(settings: TensorSettings, factors: Sequence[float], keep: Keep, combine: Combine) -> MergeBlock:
    """Base plus scale times what is combined of factor times kept change, model by model; rounded once.

    Where that changes nothing the base stays to the bit, -0 included.
    """

    def weighted(begin: int, sources: Tensor, base: Tensor) -> Iterator[Tensor]:
        for place, (model, factor) in enumerate(zip(sources[1:], factors, strict=True)):
            change = (model.to(base.dtype) - base).mul_(factor)
            kept = keep(place, begin, sources[0], model)
            yield change if kept is None else change.mul_(kept)

    def merge(begin: int, sources: Tensor, out: Tensor) -> Tensor:
        wide = torch.float64 if sources.dtype == torch.float64 else settings.sum_dtype
        one, invalid = torch.ones(1, dtype=wide), torch.zeros((), dtype=torch.int64)
        for at in range(0, len(out), PIECE):
            piece = sources[:, at : at + PIECE]
            base = piece[0].to(wide)
            change = combine(base, weighted(begin + at, piece, base)).mul_(settings.scale)
            merged = torch.where(change == 0, base, base + change)
            invalid += ops.weighted_sum_(out[at : at + PIECE], merged[None], one)
        return invalid

    return merge


def summed(base: Tensor, changes: Iterable[Tensor]) -> Tensor:
    """Their sum."""
    total = torch.zeros_like(base)
    for change in changes:
        total += change
    return total


def elected(weights: Sequence[float], normalize: bool) -> Combine:
    """Of every entry the sum of those changes that have the sign with the larger sum of magnitudes; + where equal.

    normalize  divide it by the sum of the weights of those, where that is not 0
    """

    def combine(base: Tensor, changes: Iterable[Tensor]) -> Tensor:
        above, below, above_share, below_share = base.new_zeros(4, len(base))
        for change, weight in zip(changes, weights, strict=True):
            above += change.clamp(min=0)
            below += change.clamp(max=0)
            if normalize:  # in the dtype of changes: of bool times a number torch makes float32
                above_share += (change > 0).to(base.dtype).mul_(weight)
                below_share += (change < 0).to(base.dtype).mul_(weight)
        plus = above >= -below
        change = torch.where(plus, above, below)
        if normalize:
            share = torch.where(plus, above_share, below_share)
            change /= share.masked_fill_(share == 0, 1)
        return change

    return combine
