"""Finite categories: objects, morphisms, identities and composition under any names, checked against the laws."""

from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from ..errors import TheoryError, in_one_line
from .tables import Ints, Tables, Violation, misplaced

Name = Hashable
Composition = Mapping[tuple[Any, Any], Any] | Callable[[Any, Any], Any]


class FiniteCategory:
    """A finite category. Names may be anything hashable; inside it is arrays of integers (`tables`).

    objects     their names, in the order in which everything is listed
    morphisms   name -> (domain, codomain), identities among them
    identities  object -> name of its identity
    compose     (g, f) -> g after f, for all g that start where f ends; a mapping, where composites with identities
                may be left out, or a function of g and f

    Raises TheoryError, in one line, for the first thing that is missing, unknown, or against a law; `where` of it has
    the names: a triple (h, g, f) with (h g) f ≠ h (g f), a pair, or an object.
    """

    def __init__(
        self,
        objects: Iterable[Name],
        morphisms: Mapping[Any, tuple[Any, Any]],
        identities: Mapping[Any, Any],
        compose: Composition,
    ) -> None:
        self.objects, self.morphisms = tuple(listed(objects)), tuple(morphisms)
        self._number("objects", self.objects)
        for morphism, ends in morphisms.items():
            if not isinstance(ends, tuple | list) or len(ends) != 2:
                raise TheoryError(f"{shown(morphism)}: expected a domain and a codomain.", morphism)
        pairs = np.array([[self.object_number(one) for one in pair] for pair in morphisms.values()], np.int64)
        domain, codomain = pairs.reshape(-1, 2).T
        for one in self.objects:
            if one not in identities:
                raise TheoryError(f"{shown(one)}: has no identity. Name one among the morphisms.", one)
        for one in identities:
            self.object_number(one)
        identity = np.array([self.morphism_number(identities[one]) for one in self.objects], np.int64)
        wrong = misplaced(domain, codomain, identity)
        if wrong is not None:
            raise self._error(wrong)
        look_up = self._from_mapping(compose, identity, domain, codomain) if isinstance(compose, Mapping) else compose

        def block(_: int, out: Ints, into: Ints) -> list[list[int]]:
            return [[self._composite(look_up, int(g), int(f)) for f in into] for g in out]

        self.tables = Tables.build(domain, codomain, identity, block)
        self.validate()

    @classmethod
    def of_tables(cls, objects: Iterable[Name], morphisms: Iterable[Name], tables: Tables) -> "FiniteCategory":
        """A category whose tables are right by construction: they are not checked. See `validate`."""
        category = cls.__new__(cls)
        category.objects, category.morphisms, category.tables = tuple(objects), tuple(morphisms), tables
        category._number("objects", category.objects)
        category._number("morphisms", category.morphisms)
        return category

    def validate(self) -> None:
        """Raise TheoryError for the first law that does not hold; `where` has the names that break it.

        Associativity is tried for all (h, g, f) with g of a generating set, which is enough (Light's test).
        """
        found = self.tables.violation()
        if found is not None:
            raise self._error(found)

    @property
    def opposite(self) -> "FiniteCategory":
        """The same names with all arrows turned round; its opposite is this category itself."""
        if "_opposite" not in self.__dict__:
            turned = FiniteCategory.of_tables(self.objects, self.morphisms, self.tables.opposite())
            self.__dict__["_opposite"], turned.__dict__["_opposite"] = turned, self
        return self.__dict__["_opposite"]

    def domain(self, morphism: Name) -> Any:
        """Where a morphism starts."""
        return self.objects[self.tables.domain[self.morphism_number(morphism)]]

    def codomain(self, morphism: Name) -> Any:
        """Where a morphism ends."""
        return self.objects[self.tables.codomain[self.morphism_number(morphism)]]

    def identity(self, one: Name) -> Any:
        """The identity of an object."""
        return self.morphisms[self.tables.identity[self.object_number(one)]]

    def compose(self, later: Name, earlier: Name) -> Any:
        """`later` after `earlier`. Raises TheoryError for two that do not meet."""
        g, f = self.morphism_number(later), self.morphism_number(earlier)
        if self.tables.domain[g] != self.tables.codomain[f]:
            raise TheoryError(f"{shown(later)} after {shown(earlier)}: the one does not start where the other ends.")
        return self.morphisms[self.tables.after(g)[self.tables.place_in[f]]]

    def hom(self, start: Name, end: Name) -> tuple[Any, ...]:
        """All morphisms from one object to another, in the order of `morphisms`."""
        found = self.tables.hom(self.object_number(start), self.object_number(end))
        return tuple(self.morphisms[one] for one in found)

    def isomorphic(self, one: Name, other: Name) -> bool:
        """Whether some morphism between two objects has an inverse."""
        there, back = self.hom(one, other), self.hom(other, one)
        ones = self.identity(one), self.identity(other)
        return any((self.compose(g, f), self.compose(f, g)) == ones for f in there for g in back)

    def object_number(self, name: Name) -> int:
        """The place of an object in `objects`. Raises TheoryError for another name."""
        return self._find("object", self._object_numbers, name)

    def morphism_number(self, name: Name) -> int:
        """The place of a morphism in `morphisms`. Raises TheoryError for another name."""
        return self._find("morphism", self._morphism_numbers, name)

    @cached_property
    def generators(self) -> tuple[int, ...]:
        """Numbers of morphisms of which all others but identities are composites; laws are checked on them alone."""
        return tuple(self.tables.generating())

    def __eq__(self, other: object) -> bool:
        """Same names in the same order, same ends and same composites."""
        if not isinstance(other, FiniteCategory):
            return NotImplemented
        ours, theirs = self.tables, other.tables
        return self is other or (
            (self.objects, self.morphisms) == (other.objects, other.morphisms)
            and np.array_equal(ours.domain, theirs.domain)
            and np.array_equal(ours.codomain, theirs.codomain)
            and np.array_equal(ours.identity, theirs.identity)
            and all(map(np.array_equal, ours.blocks, theirs.blocks))
        )

    def __hash__(self) -> int:
        return hash((self.objects, self.morphisms))

    def __repr__(self) -> str:
        return f"FiniteCategory({counted(len(self.objects), 'object')}, {counted(len(self.morphisms), 'morphism')})"

    @cached_property
    def _object_numbers(self) -> dict[Any, int]:
        return {name: number for number, name in enumerate(self.objects)}

    @cached_property
    def _morphism_numbers(self) -> dict[Any, int]:
        return {name: number for number, name in enumerate(self.morphisms)}

    def _number(self, kind: str, names: tuple[Any, ...]) -> None:
        numbers = self._object_numbers if kind == "objects" else self._morphism_numbers
        if len(numbers) < len(names):
            twice = next(name for number, name in enumerate(names) if numbers[name] != number)
            raise TheoryError(f"{kind}: {shown(twice)} stands there twice. Give each a name of its own.", twice)

    def _find(self, kind: str, numbers: Mapping[Any, int], name: Name) -> int:
        try:
            return numbers[name]
        except (KeyError, TypeError):
            raise TheoryError(f"{shown(name)}: no such {kind}. Known: {_some(numbers)}.", name) from None

    def _composite(self, compose: Callable[[Any, Any], Any], g: int, f: int) -> int:
        later, earlier = self.morphisms[g], self.morphisms[f]
        try:
            return self._morphism_numbers[compose(later, earlier)]
        except (KeyError, TypeError):
            pair = f"{shown(later)} after {shown(earlier)}"
            raise TheoryError(f"{pair}: expected one of the morphisms as composite. Add it.", later, earlier) from None

    def _from_mapping(
        self, compose: Mapping[Any, Any], identity: Ints, domain: Ints, codomain: Ints
    ) -> Callable[[Any, Any], Any]:
        for pair in compose:
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise TheoryError(f"compose: expected pairs (g, f) of morphisms, got {shown(pair)}.", pair)
            g, f = map(self.morphism_number, pair)
            if domain[g] != codomain[f]:
                told = "the one does not start where the other ends. Leave it out."
                raise TheoryError(f"{shown(pair[0])} after {shown(pair[1])}: {told}", *pair)
        ones = {self.morphisms[one] for one in identity}

        def look_up(later: Any, earlier: Any) -> Any:
            if (later, earlier) in compose:
                return compose[later, earlier]
            return earlier if later in ones else later if earlier in ones else None

        return look_up

    def _error(self, found: Violation) -> TheoryError:
        if found.law == "identity":
            one = self.objects[found.where[0]]
            return TheoryError(f"{shown(one)}: expected an identity from the object to itself. Name another.", one)
        names = [self.morphisms[number] for number in found.where]
        if found.law == "associativity":
            h, g, f = names
            ways = self.compose(self.compose(h, g), f), self.compose(h, self.compose(g, f))
            told = f"(h g) f = {shown(ways[0])} and h (g f) = {shown(ways[1])}"
            triple = ", ".join(f"{letter} = {shown(name)}" for letter, name in zip("hgf", names, strict=True))
            return TheoryError(f"composition: expected it to be associative, got {told} for {triple}. Mend it.", *names)
        pair = f"{shown(names[0])} after {shown(names[1])}"
        got = shown(self.compose(*names))
        if found.law == "unit":
            return TheoryError(f"{pair}: an identity must change nothing, got {got}. Mend the composite.", *names)
        ends = f"{shown(self.domain(names[1]))} to {shown(self.codomain(names[0]))}"
        return TheoryError(f"{pair}: expected a morphism from {ends}, got {got}. Mend the composite.", *names)


def listed(names: Iterable[Any]) -> list[Any]:
    """Names in a fixed order: as they come, and those of a set, which has none of its own, by how they are written."""
    return sorted(names, key=repr) if isinstance(names, set | frozenset) else list(names)


def shown(name: object) -> str:
    """A name for a message: short, and in one line."""
    return in_one_line(repr(name), 80)


def counted(count: int, what: str) -> str:
    """ "1 object", "3 objects"."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def _some(names: Iterable[object]) -> str:
    return in_one_line(", ".join(shown(name) for _, name in zip(range(8), names, strict=False)), 200)
