"""Functors between finite categories, checked: full embeddings, opposites, composites."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from ..errors import TheoryError
from .category import FiniteCategory, Name, shown
from .tables import Ints, Tables


class Functor:
    """A functor between finite categories.

    objects    name of an object of `source` -> of one of `target`
    morphisms  the same for morphisms; identities may be left out

    Raises TheoryError for what is missing or unknown, ends that do not match, and the first equation
    F(1) = 1 or F(g f) = F(g) F(f) that does not hold; `where` has the names.
    """

    def __init__(
        self,
        source: FiniteCategory,
        target: FiniteCategory,
        objects: Mapping[Any, Any],
        morphisms: Mapping[Any, Any],
    ) -> None:
        for one in source.objects:
            if one not in objects:
                raise TheoryError(f"{shown(one)}: is sent nowhere. Name its image.", one)
        for one in objects:
            source.object_number(one)
        for one in morphisms:
            source.morphism_number(one)
        self.source, self.target = source, target
        self.on_objects = _ints([target.object_number(objects[one]) for one in source.objects])
        images = np.full(len(source.morphisms), -1, np.int64)
        images[source.tables.identity] = target.tables.identity[self.on_objects]
        for number, name in enumerate(source.morphisms):
            if name in morphisms:
                images[number] = target.morphism_number(morphisms[name])
            elif images[number] < 0:
                raise TheoryError(f"{shown(name)}: is sent nowhere. Name its image.", name)
        self.on_morphisms = images
        self.validate()

    @classmethod
    def of_numbers(
        cls, source: FiniteCategory, target: FiniteCategory, on_objects: Ints, on_morphisms: Ints
    ) -> "Functor":
        """A functor that is right by construction: it is not checked. See `validate`."""
        functor = cls.__new__(cls)
        functor.source, functor.target = source, target
        functor.on_objects, functor.on_morphisms = on_objects, on_morphisms
        return functor

    def validate(self) -> None:
        """Raise TheoryError for the first equation that does not hold.

        F(g f) = F(g) F(f) is tried for all g and the f of a generating set, from which it follows for all.
        """
        ours, theirs = self.source.tables, self.target.tables
        for ends, images in ((ours.domain, theirs.domain), (ours.codomain, theirs.codomain)):
            wrong = np.flatnonzero(self.on_objects[ends] != images[self.on_morphisms])
            if len(wrong):
                self._raise_ends(int(wrong[0]))
        wrong = np.flatnonzero(self.on_morphisms[ours.identity] != theirs.identity[self.on_objects])
        if len(wrong):
            one = self.source.objects[wrong[0]]
            raise TheoryError(f"functor: the image of the identity of {shown(one)} is no identity. Mend it.", one)
        for f in self.source.generators:
            later = ours.out[ours.codomain[f]]
            middle = theirs.place_in[self.on_morphisms[f]]
            block = theirs.blocks[self.on_objects[ours.codomain[f]]]
            composites = block[theirs.place_out[self.on_morphisms[later]], middle]
            wrong = np.flatnonzero(self.on_morphisms[ours.before(f)] != composites)
            if len(wrong):
                names = self.source.morphisms[later[wrong[0]]], self.source.morphisms[f]
                told = f"F(g f) = F(g) F(f) does not hold for g = {shown(names[0])}, f = {shown(names[1])}"
                raise TheoryError(f"functor: {told}. Mend an image.", *names)

    def of_object(self, one: Name) -> Any:
        """The image of an object."""
        return self.target.objects[self.on_objects[self.source.object_number(one)]]

    def of_morphism(self, one: Name) -> Any:
        """The image of a morphism."""
        return self.target.morphisms[self.on_morphisms[self.source.morphism_number(one)]]

    @cached_property
    def opposite(self) -> "Functor":
        """The same images, between the opposite categories."""
        return Functor.of_numbers(self.source.opposite, self.target.opposite, self.on_objects, self.on_morphisms)

    def after(self, earlier: "Functor") -> "Functor":
        """This functor after another. Raises TheoryError for two that do not meet."""
        if earlier.target != self.source:
            raise TheoryError("functors: the one does not start where the other ends. Give them in the other order?")
        return Functor.of_numbers(
            earlier.source, self.target, self.on_objects[earlier.on_objects], self.on_morphisms[earlier.on_morphisms]
        )

    def unfaithful(self) -> tuple[str, tuple[Any, ...]] | None:
        """None for a fully faithful functor; else where it is not.

        ("faithful", two morphisms with one image) or ("full", a morphism between images that is none).
        """
        ours, theirs = self.source.tables, self.target.tables
        for x in range(len(self.source.objects)):
            for y in range(len(self.source.objects)):
                hom = ours.hom(x, y)
                images = self.on_morphisms[hom]
                found, first, counts = np.unique(images, return_index=True, return_counts=True)
                if len(found) < len(images):
                    one = images[first[counts.argmax()]]
                    pair = hom[images == one][:2]
                    return "faithful", tuple(self.source.morphisms[number] for number in pair)
                missed = np.setdiff1d(theirs.hom(self.on_objects[x], self.on_objects[y]), images)
                if len(missed):
                    return "full", (self.target.morphisms[missed[0]],)
        return None

    def _raise_ends(self, number: int) -> None:
        name = self.source.morphisms[number]
        image = self.target.morphisms[self.on_morphisms[number]]
        ends = " to ".join(shown(self.of_object(end(name))) for end in (self.source.domain, self.source.codomain))
        raise TheoryError(f"{shown(name)}: expected a morphism from {ends}, got {shown(image)}. Mend the image.", name)


def identity_functor(category: FiniteCategory) -> Functor:
    """The functor that changes nothing."""
    return Functor.of_numbers(category, category, np.arange(len(category.objects)), np.arange(len(category.morphisms)))


def inclusion(part: FiniteCategory, whole: FiniteCategory) -> Functor:
    """The functor of a subcategory: every name goes to itself. Raises TheoryError where that is no functor."""
    return Functor(part, whole, {one: one for one in part.objects}, {one: one for one in part.morphisms})


def to_point(category: FiniteCategory) -> Functor:
    """The functor to the category of one object and one morphism, both called "*"."""
    one = np.zeros(1, np.int64)
    point = FiniteCategory.of_tables(["*"], ["*"], Tables.build(one, one, one, lambda *_: 0))
    zeros = np.zeros(len(category.objects), np.int64), np.zeros(len(category.morphisms), np.int64)
    return Functor.of_numbers(category, point, *zeros)


def _ints(numbers: list[int]) -> Ints:
    return np.array(numbers, np.int64)
