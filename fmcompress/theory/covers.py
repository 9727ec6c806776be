"""Several prompts joined by OR, the largest of their scores: the least error of k of them, exactly or greedily."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .calibration import Mask
from .score_files import Matrix

BUDGET = 20_000  # steps after which a search gives up; a count, so that equal inputs give equal answers
MOST_SETS = 4_000  # of more that differ a search is not begun
MOST_DEEP = 400  # prompts that a search may choose between: it calls itself once for each


@dataclass(frozen=True)
class Cover:
    """Prompts and what their OR reaches.

    prompts  numbers of columns
    error    the largest distance of any object's score from its label
    wrong    objects that are off by more than the tolerance
    """

    prompts: tuple[int, ...]
    error: float
    wrong: int


class OutOfBudget(Exception):
    """A search that would take too long."""


def cover_of(unit: Matrix, positive: Mask, prompts: Sequence[int], limit: float) -> Cover:
    """What some prompts reach on calibrated scores [objects, prompts]; none say no to everything."""
    said = unit[:, list(prompts)].max(axis=1) if len(prompts) else np.zeros(len(unit))
    off = np.where(positive, 1 - said, said)
    return Cover(tuple(map(int, prompts)), float(off.max()), int((off > limit).sum()))


def greedy_covers(unit: Matrix, positive: Mask, most: int, limit: float) -> list[Cover]:
    """Of 1, 2, … prompts what adding the best one each time reaches, up to `most` or until none helps.

    Best is what leaves the fewest objects wrong, then the least error, then the least mean distance, then the first.
    """
    found: list[Cover] = []
    said, before = np.zeros(len(unit)), (len(unit) + 1, 2.0, 2.0)
    while len(found) < most:
        joined = np.maximum(unit, said[:, None])
        off = np.where(positive[:, None], 1 - joined, joined)
        wrong, error, mean = (off > limit).sum(axis=0), off.max(axis=0), off.mean(axis=0)
        best = int(np.lexsort((mean, error, wrong))[0])
        key = int(wrong[best]), float(error[best]), float(mean[best])
        if key >= before:
            break
        chosen = (*(found[-1].prompts if found else ()), best)
        found.append(Cover(chosen, key[1], key[0]))
        said, before = joined[:, best], key
    return found


def best_cover(
    unit: Matrix, positive: Mask, size: int, limit: float, known: float = 1.0, budget: int = BUDGET
) -> Cover | None:
    """The least error that the OR of at most `size` prompts can have, and such prompts; None if that takes too long.

    known  an error that so many are known to reach

    Exact: an error e is reached if so few sets hold all objects of the task, one for each prompt that says at most e
    to all others, of those to which it says at least 1 - e. Bisection finds the least such e.
    """
    miss, false, steps = 1 - unit[positive], unit[~positive].max(axis=0), [budget]
    tried = np.unique(np.concatenate([miss.ravel(), false]))
    tried = tried[tried <= known]
    low, high = 0, len(tried) - 1
    chosen: list[int] | None = None
    try:
        while low <= high:
            middle = (low + high) // 2
            allowed = np.flatnonzero(false <= tried[middle])
            found = _Sets(miss[:, allowed] <= tried[middle]).covering(size, steps)
            if found is None:
                low = middle + 1
            else:
                chosen, high = sorted(int(allowed[at]) for at in found), middle - 1
    except OutOfBudget:
        return None
    return None if chosen is None else cover_of(unit, positive, chosen, limit)


def smallest_cover(sets: Mask, most: int, budget: int = BUDGET) -> tuple[list[int] | None, bool]:
    """The fewest columns of [items, sets] that hold all items, at most `most`, and whether that is certain.

    None if there are none that few; or, where it is not certain, if none were found. A search that takes too long ends
    with what is found greedily.
    """
    kept, steps = _Sets(sets), [budget]
    try:
        for size in range(1, min(most, len(sets)) + 1):
            found = kept.covering(size, steps)
            if found is not None:
                return sorted(found), True
    except OutOfBudget:
        greedy = kept.greedily()
        return (sorted(greedy) if len(greedy) <= most else None), False
    return None, True


class _Sets:
    """Columns of [items, sets], without those that lie in another; those that alone hold some item are taken already.

    taken    numbers of these; items are what they leave, columns the sets that remain, largest first
    """

    def __init__(self, sets: Mask) -> None:
        self.possible = bool(sets.any(axis=1).all())
        self.taken: list[int] = []
        self.items, self.columns = np.arange(len(sets)), np.arange(sets.shape[1])
        while True:
            self.columns = self.columns[_largest_first(sets[np.ix_(self.items, self.columns)])]
            some = sets[np.ix_(self.items, self.columns)]
            alone = some[some.sum(axis=1) == 1].any(axis=0)
            if not alone.any():
                break
            self.taken += self.columns[alone].tolist()
            self.items, self.columns = self.items[~some[:, alone].any(axis=1)], self.columns[~alone]
        bits = np.packbits(some, axis=0)
        self.bits = np.pad(bits, ((0, -len(bits) % 8), (0, 0))).T.copy().view(np.uint64)  # [sets, words]
        self.everything = np.bitwise_or.reduce(self.bits, axis=0)
        order = np.argsort(some.sum(axis=1), kind="stable")  # the item that fewest hold first
        self.holders = [np.flatnonzero(row) for row in some[order]]
        words = np.packbits(np.eye(len(some), dtype=bool)[order], axis=1)
        self.single = np.pad(words, ((0, 0), (0, -words.shape[1] % 8))).view(np.uint64)  # [items, words]

    def covering(self, size: int, budget: list[int]) -> list[int] | None:
        """At most `size` columns that hold all items, or None if there are none. Raises OutOfBudget."""
        if not self.possible or size < len(self.taken):
            return None
        if len(self.columns) > MOST_SETS or (len(self.items) and size - len(self.taken) > MOST_DEEP):
            raise OutOfBudget
        found = self._search(self.everything, size - len(self.taken), budget)
        return None if found is None else [*self.taken, *(int(self.columns[at]) for at in found)]

    def greedily(self) -> list[int]:
        """Columns that hold all items, the one that holds the most of the rest each time."""
        chosen, left = list(self.taken), self.everything
        while left.any():
            best = int(self._gains(left).argmax())
            chosen.append(int(self.columns[best]))
            left = left & ~self.bits[best]
        return chosen

    def _gains(self, left: NDArray[np.uint64]) -> NDArray[np.int64]:
        return np.bitwise_count(self.bits & left).sum(axis=1, dtype=np.int64)

    def _search(self, left: NDArray[np.uint64], size: int, budget: list[int]) -> list[int] | None:
        """Branch over the sets that hold the item of `left` which fewest hold."""
        if not left.any():
            return []
        budget[0] -= 1
        if budget[0] < 0:
            raise OutOfBudget
        gains = self._gains(left)
        most = np.sort(gains)[::-1][:size].sum()
        if most < np.bitwise_count(left).sum():
            return None
        rarest = int((self.single & left).any(axis=1).argmax())
        holders = self.holders[rarest]
        for at in holders[np.argsort(-gains[holders], kind="stable")].tolist():
            rest = self._search(left & ~self.bits[at], size - 1, budget)
            if rest is not None:
                return [at, *rest]
        return None


def _largest_first(sets: Mask) -> NDArray[np.int64]:
    """Columns that differ, largest first; of at most MOST_SETS without those that lie in another."""
    _, first = np.unique(np.packbits(sets, axis=0), axis=1, return_index=True)
    first = first[np.lexsort((first, -sets[:, first].sum(axis=0)))]
    if len(first) > MOST_SETS:
        return first
    some = sets[:, first].astype(np.float32)
    inside = some.T @ (1 - some) == 0  # of those that differ, which lies in which
    np.fill_diagonal(inside, False)
    return first[~inside.any(axis=1)]
