"""Which entries of a tensor changed most: the exact threshold of the k largest, found in passes over its blocks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .method import Blocks

DIGIT = 16  # bits of a magnitude that one pass looks at
ALL = 1 << 62  # an index behind the last


@dataclass(frozen=True)
class Kept:
    """The largest magnitudes of a tensor: all above a threshold, and those equal to it up to an index."""

    threshold: float
    last: int

    def mask(self, begin: int, magnitudes: Tensor) -> Tensor:
        """[count] bool of a block whose first entry has the index `begin`."""
        equal = max(0, min(len(magnitudes), self.last + 1 - begin))  # so many of the first may equal the threshold
        if equal == len(magnitudes):
            return magnitudes >= self.threshold
        mask = magnitudes > self.threshold
        mask[:equal] = magnitudes[:equal] >= self.threshold
        return mask


def magnitudes(base: Tensor, model: Tensor) -> Tensor:
    """|model - base|, in float32, or float64 where that is stored: what is compared."""
    wide = torch.float64 if base.dtype == torch.float64 else torch.float32
    return (model.to(wide) - base.to(wide)).abs_()


def largest(blocks: Blocks, counts: Mapping[int, int]) -> dict[int, Kept]:
    """Of every model, by its place behind the base, the counts[place] entries that differ most from the base.

    Among equal ones the lowest index comes first, so that exactly so many, which must be in [1, size], are kept.
    Non-negative floats are ordered as their bits are: each pass counts one digit of 16 bits, the highest first, of
    those entries that begin as the threshold does. One more pass, up to the last entry that is kept, is needed where
    more of them equal the threshold than are wanted. Memory: 2^16 counts a model.
    """
    searches = {place: _Search(count) for place, count in counts.items()}
    width = known = 0
    while searches and (not known or known < width):
        for _, sources in blocks():
            for place, search in searches.items():
                bits = _bits(magnitudes(sources[0], sources[1 + place]))
                width = 8 * bits.itemsize
                search.count(bits >> (width - known - DIGIT) if known + DIGIT < width else bits, known)
        for search in searches.values():
            search.choose()
        known += DIGIT
    return _with_last(blocks, searches, width // 8)


def _bits(values: Tensor) -> NDArray[Any]:
    array = values.numpy()
    return array.view(f"u{array.itemsize}")


class _Search:
    """Of one model: the digits of its threshold that are known, and how many of what begins with them are kept."""

    def __init__(self, wanted: int) -> None:
        self.wanted, self.prefix, self.equal = wanted, 0, 0
        self.counts = np.zeros(1 << DIGIT, np.int64)

    def count(self, bits: NDArray[Any], known: int) -> None:
        """Count the lowest digit of bits, of those that begin with the known ones."""
        if known:
            bits = bits[bits >> DIGIT == self.prefix] & ((1 << DIGIT) - 1)
        self.counts += np.bincount(bits.astype(np.uint16), minlength=1 << DIGIT)

    def choose(self) -> None:
        """Take the digit in which the last that is wanted lies."""
        from_top = np.cumsum(self.counts[::-1])
        place = int(np.searchsorted(from_top, self.wanted))
        digit = (1 << DIGIT) - 1 - place
        self.equal = int(self.counts[digit])
        self.wanted -= int(from_top[place]) - self.equal
        self.prefix = self.prefix << DIGIT | digit
        self.counts[:] = 0


def _with_last(blocks: Blocks, searches: Mapping[int, _Search], size: int) -> dict[int, Kept]:
    """Thresholds as numbers, and the index of the last that is kept among those that equal it."""
    kept = {
        place: Kept(float(np.array(search.prefix, f"u{size}").view(f"f{size}")), ALL)
        for place, search in searches.items()
    }
    left = {place: search.wanted for place, search in searches.items() if search.wanted < search.equal}
    for begin, sources in blocks() if left else ():
        for place, wanted in list(left.items()):
            threshold = kept[place].threshold
            at = (magnitudes(sources[0], sources[1 + place]) == threshold).nonzero()[:, 0]
            left[place] -= len(at)
            if left[place] <= 0:
                kept[place] = Kept(threshold, begin + int(at[wanted - 1]))
                del left[place]
        if not left:
            break
    return kept
