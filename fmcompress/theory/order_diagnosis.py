"""Tasks over a hierarchy, decided exactly: which prompts an order answers with yes.

A prompt P says yes to all that is P or a kind of it. By Yuan's theorem 1 in a category with at most one arrow between
two objects, one prompt solves a task of yes and no if and only if the objects it says yes to are all below the greatest
of them. How many prompts else are to be joined by OR, and objects without labels, are our own extension.
"""

from dataclasses import dataclass

import numpy as np

from .calibration import Mask
from .collapse import MOST_PAIRS
from .covers import smallest_cover
from .hierarchy import Hierarchy
from .tasks import Labels
from .verdicts import FINE_TUNING, NOTHING, ONE_PROMPT, SEVERAL, count, hardest, listed


@dataclass(frozen=True)
class OrderTask:
    """One class against the rest, on the objects whose label is known.

    verdict, reason       as of TaskDiagnosis
    positives, negatives  how many objects are of the task and how many are not
    prompts               names of the objects to ask for, of which any is to say yes; none where none do
    fewest                whether no fewer do
    violation             (x, y): x is a kind of y, y is of the task and x is not; None if the task is functorial
    equivalent            pairs of identical features, of which one is of the task: the first 100 of `equivalent_pairs`
    least_wrong           objects that are lost by them
    """

    name: str
    verdict: str
    reason: str
    positives: int
    negatives: int
    prompts: tuple[str, ...]
    fewest: bool
    violation: tuple[str, str] | None
    equivalent: tuple[tuple[str, str], ...]
    equivalent_pairs: int
    least_wrong: int


@dataclass(frozen=True)
class OrderDiagnosis:
    """All tasks of a labelling over a hierarchy."""

    hierarchy: Hierarchy
    labels: Labels
    tasks: tuple[OrderTask, ...]

    @property
    def verdict(self) -> str:
        """That of the hardest task."""
        return hardest(task.verdict for task in self.tasks)


def diagnose_order(hierarchy: Hierarchy, labels: Labels, *, prompts: int | None = None) -> OrderDiagnosis:
    """Diagnose each class of some labels, one an object of the hierarchy, against the rest.

    prompts  the most whose OR counts as a solution; any number by default

    Where all objects are labelled the prompts are the greatest elements of the task. Objects without a label may be
    prompts, too: then those are taken that say no to all that is known to be no, and the fewest that say yes to all
    that is known to be yes; greedily if the search for the fewest takes too long.
    """
    known = labels.numbers >= 0
    tasks = tuple(_one_task(hierarchy, name, yes, known, prompts) for name, yes in labels.tasks())
    return OrderDiagnosis(hierarchy, labels, tasks)


def _one_task(hierarchy: Hierarchy, name: str, yes: Mask, known: Mask, most: int | None) -> OrderTask:
    below, names = hierarchy.below, hierarchy.objects
    no = known & ~yes
    counts = int(yes.sum()), int(no.sum())
    pairs, among, least = _equivalent(hierarchy, yes, no)
    wrong = np.argwhere(below & no[:, None] & yes[None, :])
    violation = (names[wrong[0][0]], names[wrong[0][1]]) if len(wrong) else None
    if pairs:
        reason = f"{listed(pairs[0])} are equivalent, of identical features, and have different labels: "
        reason += f"at least {count(least, 'object')} of {sum(counts)} will be wrong, whatever the method"
        return OrderTask(name, NOTHING, reason, *counts, (), True, violation, pairs, among, least)
    if violation:
        reason = f"not functorial: {violation[0]!r} is a kind of {violation[1]!r}, which is of the task, and is not; "
        reason += "no prompts can say so, a function of all arrows can, against the hierarchy"
        return OrderTask(name, FINE_TUNING, reason, *counts, (), True, violation, (), 0, 0)
    allowed = np.flatnonzero(~(below & no[:, None]).any(axis=0))
    allowed = allowed[np.argsort(below.sum(axis=0)[allowed], kind="stable")]  # of equal ones the most special
    limit = counts[0] if most is None else most
    found, fewest = smallest_cover(below[np.ix_(yes, allowed)], limit)
    chosen = sorted(int(allowed[at]) for at in found or ())
    if not chosen:
        reason = f"{'no' if fewest else 'found no'} {count(limit, 'prompt')} or fewer say yes to all of the task alone"
        return OrderTask(name, FINE_TUNING, reason, *counts, (), fewest, None, (), 0, 0)
    asked = tuple(names[at] for at in chosen)
    if len(chosen) == 1:
        reason = f"all of the task, and nothing that is not, is {asked[0]!r} or a kind of it"
    else:
        joined = f"{'' if fewest else 'at most '}{len(chosen)} joined by OR are"
        reason = f"none is above all of the task; {joined}: {listed(asked)}"
    verdict = ONE_PROMPT if len(chosen) == 1 else SEVERAL
    return OrderTask(name, verdict, reason, *counts, asked, fewest, None, (), 0, 0)


def _equivalent(hierarchy: Hierarchy, yes: Mask, no: Mask) -> tuple[tuple[tuple[str, str], ...], int, int]:
    """Equivalent objects that are labelled differently: the first pairs, how many, and how many objects are lost."""
    both = hierarchy.below & hierarchy.below.T
    first = both.argmax(axis=1)  # of those that each is equivalent to
    of_it, others = (np.bincount(first[kind], minlength=len(first)) for kind in (yes, no))
    pairs = np.argwhere(both & yes[:, None] & no[None, :])[:MOST_PAIRS]
    listed = tuple((hierarchy.objects[one], hierarchy.objects[other]) for one, other in pairs)
    return listed, int((of_it * others).sum()), int(np.minimum(of_it, others).sum())
