"""Left Kan extensions of functors to finite sets, with their universal property; colimits."""

from typing import Any, Generic, TypeVar

import numpy as np

from ..errors import TheoryError
from .category import Name, shown
from .components import classes
from .embedding import Checked
from .enumeration import natural_transformations
from .functor import Functor, to_point
from .natural import NaturalTransformation
from .set_functor import SetFunctor
from .tables import Ints

Kind = TypeVar("Kind", bound=SetFunctor)


class KanExtension(Generic[Kind]):
    """The left Kan extension of T: C -> Set along K: C -> D, by `left_kan_extension`.

    Its elements at D's object d are the triples (c, k: K c -> d, x in T(c)) up to (c, k K(f), x) = (c', k, T(f) x) for
    all f: c -> c'; of presheaves k: d -> K c, and (c', K(f) k, y) = (c, k, T(f) y). Each class is named by its first
    triple.

    functor  the extension, a functor on D; unit: T -> functor after K, x -> (c, identity, x)
    """

    functor: Kind
    unit: NaturalTransformation

    def __init__(self, task: Kind, along: Functor) -> None:
        if task.category != along.source:
            raise TheoryError("left_kan_extension: expected a task on the category where the functor starts.")
        self.task, self.along = task, along
        self._k = along.opposite if task.contravariant else along
        self._below, self._above = self._k.source.tables, self._k.target.tables
        outs = [len(self._above.out[image]) for image in self._k.on_objects]
        counts = np.array(outs, np.int64) * task.sizes
        self._begins = np.cumsum(counts) - counts
        self._labels = classes(int(counts.sum()), *self._relations())
        self.functor = self._extension()
        self.unit = self._unit()

    def class_of(self, one: Name, morphism: Name, element: Name) -> Any:
        """The name of the class of (c, k, x). Raises TheoryError for three that do not fit."""
        number = self.along.source.object_number(one)
        k = self.along.target.morphism_number(morphism)
        if self._above.domain[k] != self._k.on_objects[number]:
            raise TheoryError(f"{shown(morphism)}: is no morphism of the image of {shown(one)}.", morphism)
        place = self._places(number, np.array([k]))[0, self.task.element_number(number, element)]
        end = self._above.codomain[k]
        return self.functor.elements[end][self._numbers[self._labels[place]]]

    def map(self, transformation: NaturalTransformation, other: "KanExtension[Kind]") -> NaturalTransformation:
        """The transformation between extensions that t: T -> T' gives: (c, k, x) goes to (c, k, t x).

        other  the extension of T' along the same functor
        """
        if transformation.source != self.task or transformation.target != other.task:
            raise TheoryError("map: expected a transformation between the functors that were extended.")
        arrays = []
        for roots in self._roots:
            owner, k, x = self._triples(roots)
            images = np.array([transformation.arrays[c][e] for c, e in zip(owner, x, strict=True)], np.int64)
            places = other._begins[owner] + self._above.place_out[k] * other.task.sizes[owner] + images
            arrays.append(other._numbers[other._labels[places]])
        return NaturalTransformation.of_arrays(self.functor, other.functor, tuple(arrays))

    def transpose(self, transformation: NaturalTransformation) -> NaturalTransformation:
        """For b: functor -> S its counterpart T -> S after K, which is b after the unit."""
        target = transformation.target.restrict(self.along)
        arrays = tuple(
            transformation.arrays[image][unit] for image, unit in zip(self._k.on_objects, self.unit.arrays, strict=True)
        )
        return NaturalTransformation.of_arrays(self.task, target, arrays)

    def _places(self, number: int, morphisms: Ints) -> Ints:
        """[morphisms, |T(c)|]: where the triples (c, k, x) stand among all."""
        size = int(self.task.sizes[number])
        return self._begins[number] + self._above.place_out[morphisms][:, None] * size + np.arange(size)

    def _triples(self, places: Ints) -> tuple[Ints, Ints, Ints]:
        owner = np.searchsorted(self._begins, places, "right") - 1  # of those that begin there, the one that has any
        row, x = np.divmod(places - self._begins[owner], self.task.sizes[owner])
        outs = self._above.out
        k = np.array([outs[self._k.on_objects[c]][r] for c, r in zip(owner, row, strict=True)], np.int64)
        return owner, k, x

    def _relations(self) -> tuple[Ints, Ints]:
        """Joined triples, for f of a generating set."""
        left, right = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for f in self._k.source.generators:
            start, end = int(self._below.domain[f]), int(self._below.codomain[f])
            step = self.task.actions[start][self._below.place_out[f]]
            later = self._above.out[self._k.on_objects[end]]
            left.append(self._places(start, self._above.before(int(self._k.on_morphisms[f]))).ravel())
            right.append(self._places(end, later)[:, step].ravel())
        return np.concatenate(left), np.concatenate(right)

    def _extension(self) -> Kind:
        above, task = self._above, self.task
        every = np.flatnonzero(self._labels == np.arange(len(self._labels)))
        owner, k, x = self._triples(every)
        ends = above.codomain[k]
        self._roots = [every[ends == end] for end in range(len(above.identity))]
        self._numbers = np.full(len(self._labels), -1, np.int64)
        elements, actions = [], []
        for end, roots in enumerate(self._roots):
            self._numbers[roots] = np.arange(len(roots))
            own = zip(owner[ends == end], k[ends == end], x[ends == end], strict=True)
            objects, morphisms = self.along.source.objects, self.along.target.morphisms
            elements.append([(objects[c], morphisms[m], task.elements[c][e]) for c, m, e in own])
        for end in range(len(self._roots)):
            own = ends == end
            composites = above.blocks[end][:, above.place_in[k[own]]]
            places = self._begins[owner[own]] + above.place_out[composites] * task.sizes[owner[own]] + x[own]
            actions.append(self._numbers[self._labels[places]])
        return type(task).of_actions(self.along.target, elements, actions)

    def _unit(self) -> NaturalTransformation:
        identity = self._above.identity[self._k.on_objects]
        arrays = tuple(
            self._numbers[self._labels[self._places(number, identity[number : number + 1])[0]]]
            for number in range(len(identity))
        )
        return NaturalTransformation.of_arrays(self.task, self.functor.restrict(self.along), arrays)


def left_kan_extension(task: Kind, along: Functor) -> KanExtension[Kind]:
    """The left Kan extension of a functor to sets, or of a presheaf, along a functor between categories.

    Raises TheoryError if the one is not on the category where the other starts.
    """
    return KanExtension(task, along)


def colimit(task: SetFunctor) -> tuple[Any, ...]:
    """The colimit: elements (c, x) up to (c, x) = (c', T(f) x), each class named by its first."""
    extended = left_kan_extension(task, to_point(task.category)).functor
    return tuple((one, element) for one, _, element in extended.at("*"))


def check_universal_property(extension: KanExtension[Any], target: SetFunctor) -> Checked:
    """That b -> (b after the unit) is a bijection from Nat(Lan T, S) to Nat(T, S after K), both enumerated."""
    given = [extension.transpose(one) for one in natural_transformations(extension.functor, target)]
    found = set(natural_transformations(extension.task, target.restrict(extension.along)))
    if len({*given}) == len(given) and {*given} == found:
        return Checked(True, f"Nat(Lan T, S) is Nat(T, S K): {len(found)} transformations.")
    told = f"{len(given)} and {len(found)} transformations, {len({*given} & found)} of them matched"
    return Checked(False, f"Nat(Lan T, S) is not Nat(T, S K): {told}.")
