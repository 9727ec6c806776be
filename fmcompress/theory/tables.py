"""A finite category as numbers: which morphism goes where, and the composite of every composable pair."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Block = Callable[[int, Ints, Ints], Any]  # object, morphisms out of it, morphisms into it -> matrix of composites


class Violation(NamedTuple):
    """A law that does not hold, and the numbers of the morphisms (of an identity: of its object) that break it."""

    law: str  # "identity", "closure", "unit" or "associativity"
    where: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Tables:
    """What `FiniteCategory` computes with. Nothing here is checked before `violation` was asked.

    domain, codomain  int64 [morphisms], of objects
    identity          int64 [objects], of morphisms
    out, into         for each object the morphisms that start, that end there, ascending
    place_out         int64 [morphisms]: where each stands in `out` of its domain; `place_in` in `into` of its codomain
    blocks            for each object Y int64 [out of Y, into Y]: the composite, row after column; pairs that do not
                      compose take no memory
    """

    domain: Ints
    codomain: Ints
    identity: Ints
    out: tuple[Ints, ...]
    into: tuple[Ints, ...]
    place_out: Ints
    place_in: Ints
    blocks: tuple[Ints, ...]

    @classmethod
    def build(cls, domain: Any, codomain: Any, identity: Any, block: Block) -> "Tables":
        """Tables whose composites `block` gives, one matrix for each object in the middle."""
        domain, codomain, identity = (np.asarray(part, np.int64).reshape(-1) for part in (domain, codomain, identity))
        out, place_out = _by_object(domain, len(identity))
        into, place_in = _by_object(codomain, len(identity))
        blocks = tuple(
            np.asarray(block(middle, out[middle], into[middle]), np.int64).reshape(len(out[middle]), len(into[middle]))
            for middle in range(len(identity))
        )
        return cls(domain, codomain, identity, out, into, place_out, place_in, blocks)

    def opposite(self) -> "Tables":
        """All arrows turned round; shares the memory."""
        turned = tuple(block.T for block in self.blocks)
        return Tables(
            self.codomain, self.domain, self.identity, self.into, self.out, self.place_in, self.place_out, turned
        )

    def hom(self, start: int, end: int) -> Ints:
        """Morphisms from one object to another, ascending."""
        out = self.out[start]
        return out[self.codomain[out] == end]

    def after(self, later: int) -> Ints:
        """int64 [into the domain of `later`]: its composites with all that it can follow."""
        return self.blocks[self.domain[later]][self.place_out[later]]

    def before(self, earlier: int) -> Ints:
        """int64 [out of the codomain of `earlier`]: its composites with all that can follow it."""
        return self.blocks[self.codomain[earlier]][:, self.place_in[earlier]]

    def composites(self, later: Ints, earlier: Ints) -> Ints:
        """int64 [later, earlier]; `later`, not empty, all start at one object, where `earlier` all end."""
        return self.blocks[self.domain[later[0]]][np.ix_(self.place_out[later], self.place_in[earlier])]

    def violation(self) -> Violation | None:
        """The first law of a category that does not hold, in the order in which they are listed in `Violation`."""
        wrong = misplaced(self.domain, self.codomain, self.identity)
        if wrong is not None:
            return wrong
        for check in (self._not_closed, self._not_a_unit, self._not_associative):
            found = next(check(), None)
            if found is not None:
                return found
        return None

    def _not_closed(self) -> Iterator[Violation]:
        for block, out, into in zip(self.blocks, self.out, self.into, strict=True):
            good = (self.domain[block] == self.domain[into]) & (self.codomain[block] == self.codomain[out][:, None])
            for row, column in np.argwhere(~good)[:1]:
                yield Violation("closure", (int(out[row]), int(into[column])))

    def _not_a_unit(self) -> Iterator[Violation]:
        for middle, one in enumerate(self.identity):
            for place in np.flatnonzero(self.after(one) != self.into[middle])[:1]:
                yield Violation("unit", (int(one), int(self.into[middle][place])))
            for place in np.flatnonzero(self.before(one) != self.out[middle])[:1]:
                yield Violation("unit", (int(self.out[middle][place]), int(one)))

    def _not_associative(self) -> Iterator[Violation]:
        """Light's test: morphisms g with (h g) f = h (g f) for all h and f are closed under composition.

        So only a generating set needs to be tried in the middle.
        """
        for middle in self.generating():
            start, end = self.domain[middle], self.codomain[middle]
            left = self.blocks[start][self.place_out[self.before(middle)]]
            right = self.blocks[end][:, self.place_in[self.after(middle)]]
            if not np.array_equal(left, right):
                row, column = np.argwhere(left != right)[0]
                yield Violation("associativity", (int(self.out[end][row]), middle, int(self.into[start][column])))

    def generating(self) -> list[int]:
        """Morphisms of which all others, identities apart, are composites: those that are none, then the first missing.

        Every morphism is (…(s₁ s₂)…) sₙ of them, which is all that Light's test needs of a table not yet known to be
        associative. Needs closure and units.
        """
        reached = np.zeros(len(self.domain), bool)
        reached[self.identity] = True
        composite = reached.copy()
        for block, out, into in zip(self.blocks, self.out, self.into, strict=True):
            proper = block[~reached[out]][:, ~reached[into]]
            composite[proper.ravel()] = True
        found = [int(one) for one in np.flatnonzero(~composite)]
        self._reach(reached, found, [int(one) for one in self.identity])
        for morphism in range(len(self.domain)):
            if not reached[morphism]:
                found.append(morphism)
                known = self.out[self.codomain[morphism]]
                products = self.before(morphism)[reached[known]]
                fresh = np.unique(products[~reached[products]])
                reached[fresh] = True
                self._reach(reached, found, fresh.tolist())
        return found

    def _reach(self, reached: NDArray[np.bool_], generators: list[int], waiting: list[int]) -> None:
        """Mark all that follows from those that wait, times generators on the right."""
        ending: dict[int, list[int]] = {}
        for one in generators:
            ending.setdefault(int(self.codomain[one]), []).append(int(self.place_in[one]))
        places = {middle: np.array(ones) for middle, ones in ending.items()}
        while waiting:
            one = waiting.pop()
            at = places.get(int(self.domain[one]))
            if at is not None:
                products = self.after(one)[at]
                fresh = np.unique(products[~reached[products]])
                reached[fresh] = True
                waiting += fresh.tolist()


def misplaced(domain: Ints, codomain: Ints, identity: Ints) -> Violation | None:
    """The first object whose identity does not start and end there."""
    objects = np.arange(len(identity))
    wrong = (domain[identity] != objects) | (codomain[identity] != objects)
    return Violation("identity", (int(wrong.argmax()),)) if wrong.any() else None


def _by_object(ends: Ints, objects: int) -> tuple[tuple[Ints, ...], Ints]:
    """Morphisms by the object at one of their ends, and the place of each among its own."""
    order = np.argsort(ends, kind="stable")
    counts = np.bincount(ends, minlength=objects)
    begins = np.cumsum(counts) - counts
    place = np.empty(len(ends), np.int64)
    place[order] = np.arange(len(ends)) - np.repeat(begins, counts)
    return tuple(np.split(order, begins[1:])) if objects else (), place
