"""Objects whose features are identical: if their labels differ, nothing that sees features alone can be right."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .calibration import Mask
from .components import classes
from .score_files import Matrix

Groups = NDArray[np.int64]
MOST_PAIRS = 100  # that are listed; all are counted


@dataclass(frozen=True)
class Collapse:
    """What identical features cost a task.

    pairs        how many pairs (object of the task, object that is not) have identical features
    bitwise      how many of these are equal to the last bit; the others within the tolerance
    listed       the first of them, by number
    tolerance    by how much a feature of two objects may differ where they count as identical
    least_wrong  objects that any function of the features gets wrong at least: the fewer of each group (Bayes)
    """

    pairs: int
    bitwise: int
    listed: tuple[tuple[int, int], ...]
    tolerance: float
    least_wrong: int


def identical_groups(features: Matrix, tolerance: float) -> Groups:
    """[objects]: the first of those whose features differ nowhere by more than `tolerance`.

    What is identical to the same is identical: of a chain of small steps the ends may differ by more.
    """
    rows, of_row = np.unique(features, axis=0, return_inverse=True)
    means = rows.mean(axis=1)
    order = np.argsort(means, kind="stable")
    slack = tolerance + 1e-12 * float(abs(rows).max(initial=0))  # of a mean's own rounding
    ends = np.searchsorted(means[order], means[order] + slack, "right")

    def near() -> Iterator[tuple[Groups, Groups]]:
        for place, end in enumerate(ends):
            one, others = order[place], order[place + 1 : end]
            if len(others):
                found = others[abs(rows[others] - rows[one]).max(axis=1) <= tolerance]
                yield np.full_like(found, one), found

    _, first, group = np.unique(classes(len(rows), near())[of_row.ravel()], return_index=True, return_inverse=True)
    return first[group]


def collapse_of(features: Matrix, positive: Mask, groups: Groups, tolerance: float) -> Collapse:
    """What the groups of identical features cost a task: [objects, prompts], [objects], [objects]."""
    equal = np.unique(features, axis=0, return_inverse=True)[1].ravel()
    yes, no = _counts(groups, positive)
    listed: list[tuple[int, int]] = []
    for number in np.flatnonzero(yes * no):
        members = np.flatnonzero(groups == number)
        pairs = itertools.product(members[positive[members]].tolist(), members[~positive[members]].tolist())
        listed += itertools.islice(pairs, MOST_PAIRS - len(listed))
    bitwise = int(np.prod(_counts(equal, positive), axis=0).sum())
    return Collapse(int((yes * no).sum()), bitwise, tuple(listed), tolerance, int(np.minimum(yes, no).sum()))


def _counts(groups: Groups, positive: Mask) -> tuple[Groups, Groups]:
    """Of each group how many objects are of the task and how many are not."""
    yes, no = (np.bincount(groups[kind], minlength=int(groups.max()) + 1) for kind in (positive, ~positive))
    return yes, no
