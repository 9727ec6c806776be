"""Which prompt a task is: representability with a witness where it fails, and how many prompts it needs."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .category import counted, shown
from .elements import Elements
from .set_functor import SetFunctor

SHOWN = 4  # reasons in a sentence; `failures` has all


@dataclass(frozen=True)
class Failure:
    """Why an object represents a functor by no element, or not by this one.

    prompt, element  the object P and the element u of F(P); None where no element can do
    at               the object X where Hom(X, P) -> F(X), f -> F(f) u is not a bijection
    sizes            |Hom(X, P)| and |F(X)|
    twice            two morphisms that give the same element; missed: an element that none gives
    """

    prompt: Any
    element: Any
    at: Any
    sizes: tuple[int, int]
    twice: tuple[Any, Any] | None = None
    missed: Any = None

    def __str__(self) -> str:
        if self.twice is None:
            have, want = self.sizes
            answers = counted(have, "answer")
            return f"prompt {shown(self.prompt)} has {answers} at {shown(self.at)} and the task {want}"
        pair = " and ".join(map(shown, self.twice))
        told = f"gives one answer twice at {shown(self.at)}, by {pair}, and never {shown(self.missed)}"
        return f"prompt {shown(self.prompt)} with {shown(self.element)} {told}"


@dataclass(frozen=True)
class Representability:
    """Whether a functor is representable: true if it is.

    prompt, element  the representing object P and the universal element u of F(P), the first that there are
    failures         else for each object that cannot be it one reason, or one for each element of F(P)
    """

    representable: bool
    prompt: Any = None
    element: Any = None
    failures: tuple[Failure, ...] = ()

    def __bool__(self) -> bool:
        return self.representable

    def __str__(self) -> str:
        if self.representable:
            return f"Represented by {shown(self.prompt)} with the universal element {shown(self.element)}."
        told = "; ".join(map(str, self.failures[:SHOWN])) or "there is no object"
        left = len(self.failures) - SHOWN
        return f"Not representable: {told}{f'; and {left} more' if left > 0 else ''}."


@dataclass(frozen=True)
class Prompts:
    """Prompts that together answer a task: pairs of an object P and an element of F(P).

    exact  every answer comes from exactly one prompt, in one way: the task is the coproduct of what the prompts answer;
           else every answer comes from some prompt, perhaps in several ways, and fewer prompts cannot do even that
    """

    prompts: tuple[tuple[Any, Any], ...]
    exact: bool

    @property
    def count(self) -> int:
        """How many."""
        return len(self.prompts)

    def __str__(self) -> str:
        names = ", ".join(shown(prompt) for prompt, _ in self.prompts) or "none"
        ways = "every answer once" if self.exact else "every answer, some in several ways"
        return f"{counted(self.count, 'prompt')} ({names}): {ways}."


def is_representable(functor: SetFunctor) -> Representability:
    """Whether F = Hom(-, P) for some object P; of a covariant functor, whether F = Hom(P, -).

    (P, u) represents F if f -> F(f) u meets every element of F exactly once, that is if (P, u) is terminal in the
    category of elements (initial, of a covariant functor).
    """
    elements, category, tables = Elements(functor), functor.category, functor.along.tables
    failures: list[Failure] = []
    for number, prompt in enumerate(category.objects):
        sizes = np.bincount(tables.codomain[tables.out[number]], minlength=len(category.objects))
        differing = np.flatnonzero(sizes != functor.sizes)
        if len(differing):
            at = differing[0]
            pair = int(sizes[at]), len(functor.elements[at])
            failures.append(Failure(prompt, None, category.objects[at], pair))
            continue
        orbits = elements.orbits(number)
        for column, element in enumerate(functor.elements[number]):
            times = np.bincount(orbits[:, column], minlength=elements.count)
            if (times == 1).all():
                return Representability(True, prompt, element)
            at, missed = elements.named(int((times == 0).argmax()))
            failures.append(_collision(functor, (prompt, element), at, missed, orbits[:, column], times))
    return Representability(False, failures=tuple(failures))


def _collision(functor: SetFunctor, pair: tuple[Any, Any], at: Any, missed: Any, orbit: Any, times: Any) -> Failure:
    """Of sets of equal size, one that is not met whole is met twice somewhere."""
    number, tables = functor.category.object_number(pair[0]), functor.along.tables
    out = tables.out[number]
    there = tables.codomain[out] == functor.category.object_number(at)
    twice = out[there & (times[orbit] > 1)]
    twice = twice[orbit[tables.place_out[twice]] == orbit[tables.place_out[twice[0]]]][:2]
    size = len(functor.at(at))
    names = tuple(functor.category.morphisms[one] for one in twice)
    return Failure(*pair, at, (size, size), (names[0], names[1]), missed)


def prompts_needed(functor: SetFunctor) -> Prompts:
    """The fewest prompts that together answer a task, which is our own extension of the paper's one prompt.

    A smallest set of elements that generate all others; its size is the least k with an epimorphism from a coproduct of
    k representables onto F. No search is needed, see `Elements.generators`. If each generates its part freely, F is
    that coproduct (`exact`), and k is also the number of its components.
    """
    elements = Elements(functor)
    generators = elements.generators
    times = np.zeros(elements.count, np.int64)
    for one in generators:
        number = elements.objects[one]
        column = elements.orbits(number)[:, one - elements.begins[number]]
        times += np.bincount(column, minlength=elements.count)
    return Prompts(tuple(elements.named(int(one)) for one in generators), bool((times == 1).all()))
