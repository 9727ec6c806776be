"""Functors from a finite category to finite sets: covariant ones, and presheaves."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from ..errors import TheoryError
from .category import FiniteCategory, Name, listed, shown
from .functor import Functor
from .tables import Ints

Maps = Mapping[Any, Mapping[Any, Any]] | Callable[[Any, Any], Any]
Self = TypeVar("Self", bound="SetFunctor")


class SetFunctor:
    """A functor from a finite category to finite sets.

    sets  object -> its elements, any hashable names
    maps  morphism -> {element: element}, identities may be left out; or a function of morphism and element

    Inside, elements are numbers within their set, and `actions[X]` is int64 [morphisms out of X, |F(X)|]: row after row
    what they do, as numbers within the set at their other end. All is along `along`, which for a Presheaf is the
    opposite category, so that what is said of functors holds of presheaves.

    Raises TheoryError for what is missing or unknown, and the first of F(1) = 1 and F(g f) = F(g) F(f) that does not
    hold; `where` has the names.
    """

    contravariant = False

    def __init__(self, category: FiniteCategory, sets: Mapping[Any, Iterable[Any]], maps: Maps) -> None:
        self.category = category
        for one in category.objects:
            if one not in sets:
                raise TheoryError(f"{shown(one)}: has no set. Give its elements, none for an empty set.", one)
        for one in sets:
            category.object_number(one)
        self.elements = tuple(tuple(listed(sets[one])) for one in category.objects)
        for one, numbers, names in zip(category.objects, self.numbers, self.elements, strict=True):
            if len(numbers) < len(names):
                raise TheoryError(f"{shown(one)}: an element stands there twice. Give each a name of its own.", one)
        if not callable(maps):
            for morphism in maps:
                category.morphism_number(morphism)
        look_up = maps if callable(maps) else self._from_mapping(maps)
        self.actions = tuple(
            _ints([self._row(look_up, int(one)) for one in out], (len(out), len(names)))
            for out, names in zip(self.along.tables.out, self.elements, strict=True)
        )
        self.validate()

    @classmethod
    def of_actions(
        cls: type[Self], category: FiniteCategory, elements: Iterable[Sequence[Any]], actions: Iterable[Ints]
    ) -> Self:
        """A functor that is right by construction: it is not checked. See `validate`."""
        functor = cls.__new__(cls)
        functor.category = category
        functor.elements, functor.actions = tuple(map(tuple, elements)), tuple(actions)
        return functor

    @property
    def along(self) -> FiniteCategory:
        """The category that this is a covariant functor on."""
        return self.category.opposite if self.contravariant else self.category

    def covariant(self) -> "SetFunctor":
        """The same as a covariant functor, of a presheaf on the opposite category."""
        return SetFunctor.of_actions(self.along, self.elements, self.actions)

    def at(self, one: Name) -> tuple[Any, ...]:
        """The set at an object."""
        return self.elements[self.category.object_number(one)]

    def act(self, morphism: Name, element: Name) -> Any:
        """What a morphism does to an element of the set that it acts on: at its codomain for a presheaf."""
        number, tables = self.category.morphism_number(morphism), self.along.tables
        start, end = tables.domain[number], tables.codomain[number]
        return self.elements[end][self.actions[start][tables.place_out[number], self.element_number(start, element)]]

    @property
    def sizes(self) -> Ints:
        """int64 [objects]: how many elements each set has."""
        return _ints([len(names) for names in self.elements], (-1,))

    @cached_property
    def numbers(self) -> tuple[dict[Any, int], ...]:
        """For each object, the number of each element."""
        return tuple({name: number for number, name in enumerate(names)} for names in self.elements)

    def element_number(self, number: int, element: Name) -> int:
        """The number of an element at the object of that number. Raises TheoryError for one that is not there."""
        try:
            return self.numbers[number][element]
        except (KeyError, TypeError):
            told = f"no element of the set at {shown(self.category.objects[number])}"
            raise TheoryError(f"{shown(element)}: is {told}.", element) from None

    def validate(self) -> None:
        """Raise TheoryError for the first equation that does not hold.

        F(g f) = F(g) F(f) is tried for all g and the f of a generating set, from which it follows for all.
        """
        tables, names = self.along.tables, self.category.morphisms
        for number, one in enumerate(tables.identity):
            if (self.actions[number][tables.place_out[one]] != np.arange(len(self.elements[number]))).any():
                raise TheoryError(f"{shown(names[one])}: an identity must move no element. Mend its map.", names[one])
        for f in self.along.generators:
            start, end = tables.domain[f], tables.codomain[f]
            step = self.actions[start][tables.place_out[f]]
            together = self.actions[start][tables.place_out[tables.before(f)]]
            wrong = np.argwhere(self.actions[end][:, step] != together)
            if len(wrong):
                row, element = wrong[0]
                earlier, later = names[f], names[tables.out[end][row]]
                g, f = (earlier, later) if self.contravariant else (later, earlier)
                law = "F(g f) = F(f) F(g)" if self.contravariant else "F(g f) = F(g) F(f)"
                of = f"g = {shown(g)}, f = {shown(f)} and the element {shown(self.elements[start][element])}"
                raise TheoryError(f"{law} does not hold for {of}. Mend a map.", g, f, self.elements[start][element])

    def restrict(self: Self, functor: Functor) -> Self:
        """This functor after another one into its category: what it gives on the other's source."""
        if functor.target != self.category:
            raise TheoryError("restrict: expected a functor into the category of this one.")
        ours, theirs = self.along.tables, (functor.source.opposite if self.contravariant else functor.source).tables
        actions = [
            self.actions[image][ours.place_out[functor.on_morphisms[out]]]
            for image, out in zip(functor.on_objects, theirs.out, strict=True)
        ]
        return type(self).of_actions(functor.source, [self.elements[one] for one in functor.on_objects], actions)

    def __eq__(self, other: object) -> bool:
        """Same category, same elements in the same order, same maps."""
        if not isinstance(other, SetFunctor):
            return NotImplemented
        return self is other or (
            self.contravariant == other.contravariant
            and self.category == other.category
            and self.elements == other.elements
            and all(map(np.array_equal, self.actions, other.actions))
        )

    def __hash__(self) -> int:
        return hash((self.category, self.elements))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({sum(map(len, self.elements))} elements on {self.category!r})"

    def _row(self, act: Callable[[Any, Any], Any], morphism: int) -> list[int]:
        tables, name = self.along.tables, self.category.morphisms[morphism]
        start, end = int(tables.domain[morphism]), int(tables.codomain[morphism])
        return [self.element_number(end, act(name, element)) for element in self.elements[start]]

    def _from_mapping(self, maps: Mapping[Any, Mapping[Any, Any]]) -> Callable[[Any, Any], Any]:
        ones = {self.category.morphisms[one] for one in self.category.tables.identity}

        def look_up(morphism: Any, element: Any) -> Any:
            if morphism in ones and morphism not in maps:
                return element
            try:
                return maps[morphism][element]
            except (KeyError, TypeError):
                told = f"{shown(morphism)}: sends the element {shown(element)} nowhere. Name its image."
                raise TheoryError(told, morphism, element) from None

        return look_up


class Presheaf(SetFunctor):
    """A functor from the opposite category to finite sets: f: X -> Y takes elements at Y to elements at X."""

    contravariant = True


def constant(category: FiniteCategory, elements: Iterable[Name]) -> Presheaf:
    """The presheaf with the same set everywhere, that every morphism leaves alone."""
    names = listed(elements)
    return Presheaf(category, dict.fromkeys(category.objects, names), lambda _, element: element)


def side_by_side(*parts: Self) -> Self:
    """The coproduct of functors on one category; an element becomes (number of the part, element)."""
    first = parts[0]
    if any(part.category != first.category or part.contravariant != first.contravariant for part in parts):
        raise TheoryError("side_by_side: expected functors of one kind on one category.")
    sizes = np.stack([part.sizes for part in parts])
    begins = np.cumsum(sizes, 0) - sizes
    tables = first.along.tables
    elements = [
        [(number, name) for number, part in enumerate(parts) for name in part.elements[one]]
        for one in range(len(first.elements))
    ]
    actions = [
        np.concatenate(
            [
                part.actions[one] + begin[tables.codomain[out]][:, None]
                for part, begin in zip(parts, begins, strict=True)
            ],
            1,
        )
        for one, out in enumerate(tables.out)
    ]
    return type(first).of_actions(first.category, elements, actions)


def _ints(numbers: list[Any], shape: tuple[int, ...]) -> Ints:
    return np.array(numbers, np.int64).reshape(shape)
