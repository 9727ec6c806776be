"""All natural transformations between two functors to finite sets, by the images of a generating set of elements."""

from collections.abc import Iterator
from itertools import product
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .elements import Elements
from .natural import NaturalTransformation, require_parallel
from .set_functor import SetFunctor
from .tables import Ints


class _Step(NamedTuple):
    """A generator of the source: what its image determines, and which images agree with what is determined already.

    fresh    elements of the source that are determined from here on; `known` those and all before
    images   int64 [fresh, candidates]: what each candidate sends them to
    overlap  elements that this generator shares with earlier ones
    choices  bytes of the images of `overlap` -> the candidates that send it there
    """

    fresh: Ints
    known: Ints
    images: Ints
    overlap: Ints
    choices: dict[bytes, list[int]]


def natural_transformations(source: SetFunctor, target: SetFunctor) -> Iterator[NaturalTransformation]:
    """All natural transformations between two functors on one category, one by one, always in the same order.

    Images are chosen for one generator of the source after the other, of those that agree with what earlier choices
    determine. Components of the source do not see each other; their solutions are listed apart.
    """
    parts = _parts(source, target)
    if any(next(_solutions(part), None) is None for part in parts):  # or those of the others are listed in vain
        return
    known = [part[-1].known for part in parts]
    for images in product(*(list(_solutions(part)) for part in parts)):
        yield _assembled(source, target, known, list(images))


def count_natural_transformations(source: SetFunctor, target: SetFunctor) -> int:
    """How many natural transformations there are: the product over components of the source; none is built."""
    return prod(sum(1 for _ in _solutions(part)) for part in _parts(source, target))


def find_isomorphism(source: SetFunctor, target: SetFunctor) -> NaturalTransformation | None:
    """An isomorphism of two functors on one category, always the same, or None.

    Each component of the source is laid on the first one of the target that is left and like it. Being like each other
    is an equivalence, so a choice never stands in the way of a later one.
    """
    parts = _parts(source, target)
    if not np.array_equal(source.sizes, target.sizes):
        return None
    labels = Elements(target).components
    sizes = np.bincount(labels, minlength=len(labels)) if len(labels) else labels
    known, images = [part[-1].known for part in parts], list[Ints]()
    free = np.ones(len(labels), bool)
    for ours in known:
        part = parts[len(images)]
        found = next(_solutions(part, free & (sizes[labels] == len(ours))), None)
        if found is None:
            return None
        free[found] = False
        images.append(found)
    return _assembled(source, target, known, images)


def _assembled(source: SetFunctor, target: SetFunctor, known: list[Ints], images: list[Ints]) -> NaturalTransformation:
    everything = np.empty(int(source.sizes.sum()), np.int64)
    for places, chosen in zip(known, images, strict=True):
        everything[places] = chosen
    split = np.split(everything, np.cumsum(source.sizes)[:-1]) if len(source.sizes) else []
    begins = Elements(target).begins
    arrays = tuple(part - begin for part, begin in zip(split, begins, strict=True))
    return NaturalTransformation.of_arrays(source, target, arrays)


def _solutions(steps: list[_Step], free: NDArray[np.bool_] | None = None) -> Iterator[Ints]:
    """Images of all elements of a component, in the order of its last step's `known`, by backtracking.

    free  bool [elements of the target]: only one to one into these
    """
    images = np.empty(max(int(step.known.max()) for step in steps) + 1, np.int64)
    waiting = [iter(steps[0].choices.get(b"", []))]
    while waiting:
        candidate = next(waiting[-1], None)
        if candidate is None:
            waiting.pop()
            continue
        step = steps[len(waiting) - 1]
        images[step.fresh] = step.images[:, candidate]
        if free is not None and not (
            free[images[step.fresh]].all() and len(np.unique(images[step.known])) == len(step.known)
        ):
            continue
        if len(waiting) == len(steps):
            yield images[step.known]
        else:  # what this step overwrites of a later one is written again there
            following = steps[len(waiting)]
            waiting.append(iter(following.choices.get(images[following.overlap].tobytes(), [])))


def _parts(source: SetFunctor, target: SetFunctor) -> list[list[_Step]]:
    """The steps of each component of the source, in the order of components."""
    require_parallel(source, target)
    ours, theirs = Elements(source), Elements(target)
    generators: dict[int, list[int]] = {}
    for one in ours.generators.tolist():
        generators.setdefault(int(ours.components[one]), []).append(one)
    return [_steps(ours, theirs, generators[label]) for label in sorted(generators)]


def _steps(ours: Elements, theirs: Elements, generators: list[int]) -> list[_Step]:
    """Each next generator is the one that shares most with those before it: it has the fewest images to try."""
    orbits = {one: ours.orbits(ours.objects[one])[:, one - ours.begins[ours.objects[one]]] for one in generators}
    determined = np.zeros(ours.count, bool)
    steps, known, left = list[_Step](), np.empty(0, np.int64), list(generators)
    while left:
        one = max(left, key=lambda other: int(determined[orbits[other]].sum()))  # of equals the first
        left.remove(one)
        places, first, inverse = np.unique(orbits[one], return_index=True, return_inverse=True)
        images = theirs.orbits(ours.objects[one])
        agreeing = np.flatnonzero((images == images[first][inverse]).all(0))  # equal stays equal
        shared = determined[places]
        choices: dict[bytes, list[int]] = {}
        for candidate in agreeing.tolist():
            choices.setdefault(images[first[shared], candidate].tobytes(), []).append(candidate)
        known = np.concatenate([known, places[~shared]])
        steps.append(_Step(places[~shared], known, images[first[~shared]], places[shared], choices))
        determined[places] = True
    return steps
