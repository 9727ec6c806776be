"""Natural transformations between functors to finite sets: checked and composed."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import TheoryError
from .category import Name, shown
from .set_functor import SetFunctor
from .tables import Ints


class NaturalTransformation:
    """A natural transformation between two functors to sets on one category.

    components  object -> {element of source: element of target}

    Raises TheoryError for what is missing or unknown, and for the first morphism and element where
    G(f) t(x) = t(F(f) x) does not hold; `where` has their names.
    """

    def __init__(self, source: SetFunctor, target: SetFunctor, components: Mapping[Any, Mapping[Any, Any]]) -> None:
        require_parallel(source, target)
        for one in components:
            source.category.object_number(one)
        self.source, self.target = source, target
        arrays = []
        for number, (one, names) in enumerate(zip(source.category.objects, source.elements, strict=True)):
            component = components.get(one, {})
            missing = next((name for name in names if name not in component), None)
            if len(component) < len(names) and missing is not None:
                raise TheoryError(f"{shown(missing)} at {shown(one)}: is sent nowhere. Name its image.", one, missing)
            for name in component:
                source.element_number(number, name)
            arrays.append(np.array([target.element_number(number, component[name]) for name in names], np.int64))
        self.arrays = tuple(arrays)
        self.validate()

    @classmethod
    def of_arrays(cls, source: SetFunctor, target: SetFunctor, arrays: tuple[Ints, ...]) -> "NaturalTransformation":
        """One that is right by construction: for each object the number of each element's image. See `validate`."""
        one = cls.__new__(cls)
        one.source, one.target, one.arrays = source, target, arrays
        return one

    def at(self, one: Name, element: Name) -> Any:
        """The image of an element at an object."""
        number = self.source.category.object_number(one)
        return self.target.elements[number][self.arrays[number][self.source.element_number(number, element)]]

    @property
    def components(self) -> dict[Any, dict[Any, Any]]:
        """Object -> {element of source: element of target}."""
        everything = zip(self.source.category.objects, self.source.elements, self.target.elements, strict=True)
        return {
            one: {name: images[number] for name, number in zip(names, array, strict=True)}
            for (one, names, images), array in zip(everything, self.arrays, strict=True)
        }

    def validate(self) -> None:
        """Raise TheoryError for the first square that does not commute; generators are tried, all others follow."""
        tables = self.source.along.tables
        for f in self.source.along.generators:
            start, end = tables.domain[f], tables.codomain[f]
            place = tables.place_out[f]
            first = self.target.actions[start][place][self.arrays[start]]
            wrong = np.flatnonzero(first != self.arrays[end][self.source.actions[start][place]])
            if len(wrong):
                names = self.source.category.morphisms[f], self.source.elements[start][wrong[0]]
                told = f"G(f) t(x) = t(F(f) x) does not hold for f = {shown(names[0])}, x = {shown(names[1])}"
                raise TheoryError(f"transformation: {told}. Mend an image.", *names)

    def after(self, earlier: "NaturalTransformation") -> "NaturalTransformation":
        """This transformation after another. Raises TheoryError for two that do not meet."""
        if earlier.target != self.source:
            raise TheoryError("transformations: the one does not start where the other ends.")
        arrays = tuple(ours[theirs] for ours, theirs in zip(self.arrays, earlier.arrays, strict=True))
        return NaturalTransformation.of_arrays(earlier.source, self.target, arrays)

    @property
    def is_isomorphism(self) -> bool:
        """Whether it is one to one and onto at every object."""
        sizes = self.target.sizes
        return all(
            len(array) == size and len(np.unique(array)) == size for array, size in zip(self.arrays, sizes, strict=True)
        )

    def __eq__(self, other: object) -> bool:
        """Same functors, same images."""
        if not isinstance(other, NaturalTransformation):
            return NotImplemented
        same = (self.source, self.target) == (other.source, other.target)
        return same and all(map(np.array_equal, self.arrays, other.arrays))

    def __hash__(self) -> int:
        return hash(tuple(array.tobytes() for array in self.arrays))

    def __repr__(self) -> str:
        return f"NaturalTransformation({self.source!r} to {self.target!r})"


def identity_transformation(functor: SetFunctor) -> NaturalTransformation:
    """The one that changes nothing."""
    return NaturalTransformation.of_arrays(functor, functor, tuple(np.arange(size) for size in functor.sizes))


def require_parallel(source: SetFunctor, target: SetFunctor) -> None:
    """Raise TheoryError unless both are functors of one variance on one category."""
    if source.category != target.category or source.contravariant != target.contravariant:
        raise TheoryError("transformation: expected two functors of one kind on one category.")
