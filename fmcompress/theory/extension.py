"""The extension of a functor to sets along the Yoneda embedding, from objects to all presheaves; co-Yoneda."""

from typing import Any

import numpy as np

from ..errors import TheoryError
from .category import Name, shown
from .components import classes
from .embedding import Checked, yoneda, yoneda_morphism
from .natural import NaturalTransformation
from .set_functor import Presheaf, SetFunctor
from .tables import Ints


class Coend:
    """The coend of A(X) x T(X), for a presheaf A and a covariant functor T on one category.

    Its elements are triples (X, a, t) up to (X, A(f) a, t) = (Y, a, T(f) t) for all f: X -> Y with a in A(Y) and t in
    T(X). Each class is named by its first triple, and `names` lists them.
    """

    def __init__(self, presheaf: SetFunctor, task: SetFunctor) -> None:
        if presheaf.category != task.category or not presheaf.contravariant or task.contravariant:
            raise TheoryError("coend: expected a presheaf and a covariant functor on one category.")
        self.presheaf, self.task = presheaf, task
        counts = presheaf.sizes * task.sizes
        self._begins = np.cumsum(counts) - counts
        labels = classes(int(counts.sum()), *self._relations())
        self._roots = np.flatnonzero(labels == np.arange(len(labels)))
        self._numbers = np.searchsorted(self._roots, labels)  # of the class of each triple

    def __len__(self) -> int:
        return len(self._roots)

    @property
    def names(self) -> tuple[tuple[Any, Any, Any], ...]:
        """The first triple (X, a, t) of each class."""
        rows = zip(*self._triples(), strict=True)
        objects, left, right = self.task.category.objects, self.presheaf.elements, self.task.elements
        return tuple((objects[one], left[one][a], right[one][t]) for one, a, t in rows)

    def class_of(self, one: Name, a: Name, t: Name) -> tuple[Any, Any, Any]:
        """The first triple of the class of one. Raises TheoryError for what are no elements."""
        number = self.task.category.object_number(one)
        place = self.presheaf.element_number(number, a), self.task.element_number(number, t)
        return self.names[self.numbers(number)[place]]

    def numbers(self, one: int) -> Ints:
        """int64 [|A(X)|, |T(X)|]: the number of each triple's class, at the object of that number."""
        rows, columns = len(self.presheaf.elements[one]), len(self.task.elements[one])
        return self._numbers[self._begins[one] : self._begins[one] + rows * columns].reshape(rows, columns)

    def map(self, transformation: NaturalTransformation, other: "Coend") -> Ints:
        """int64 [classes]: where (X, a, t) -> (X, its image of a, t) takes each class, in the other coend."""
        return np.array(
            [other.numbers(one)[transformation.arrays[one][a], t] for one, a, t in zip(*self._triples(), strict=True)],
            np.int64,
        )

    def _triples(self) -> tuple[Ints, Ints, Ints]:
        owner = np.searchsorted(self._begins, self._roots, "right") - 1  # the last to begin there: it has some
        a, t = np.divmod(self._roots - self._begins[owner], self.task.sizes[owner])
        return owner, a, t

    def _relations(self) -> tuple[Ints, Ints]:
        tables, sizes = self.task.category.tables, self.task.sizes
        left, right = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for f in self.task.category.generators:
            x, y = tables.domain[f], tables.codomain[f]
            pulled = self.presheaf.actions[y][tables.place_in[f]]
            pushed = self.task.actions[x][tables.place_out[f]]
            left.append((self._begins[x] + pulled[:, None] * sizes[x] + np.arange(sizes[x])).ravel())
            right.append((self._begins[y] + np.arange(len(pulled))[:, None] * sizes[y] + pushed).ravel())
        return np.concatenate(left), np.concatenate(right)


class YonedaExtension:
    """The left Kan extension of T: C -> Set along Yoneda: a functor from presheaves on C to sets, by coends."""

    def __init__(self, task: SetFunctor) -> None:
        if task.contravariant:
            raise TheoryError("yoneda_extension: expected a covariant functor. Give presheaf.covariant().")
        self.task = task

    def __call__(self, presheaf: Presheaf) -> tuple[tuple[Any, Any, Any], ...]:
        """The set at a presheaf: triples (X, a, t), see `Coend`."""
        return Coend(presheaf, self.task).names

    def map(self, transformation: NaturalTransformation) -> dict[Any, Any]:
        """What a transformation of presheaves becomes: {element at its source: element at its target}."""
        source, target = (Coend(one, self.task) for one in (transformation.source, transformation.target))
        names = target.names
        return {
            name: names[number] for name, number in zip(source.names, source.map(transformation, target), strict=True)
        }

    def unit(self, one: Name) -> dict[Any, tuple[Any, Any, Any]]:
        """T(X) -> the set at h_X, t -> the class of (X, identity, t)."""
        coend = Coend(yoneda(self.task.category, one), self.task)
        names = coend.names
        return {t: names[number] for t, number in zip(self.task.at(one), unit_numbers(coend, one), strict=True)}


def yoneda_extension(task: SetFunctor) -> YonedaExtension:
    """The extension of T: C -> Set along Yoneda; call it with a presheaf. Raises TheoryError for a presheaf T."""
    return YonedaExtension(task)


def unit_numbers(coend: Coend, one: Name) -> Ints:
    """int64 [|T(X)|]: the classes of (X, identity, t) in the coend of h_X and T."""
    number = coend.task.category.object_number(one)
    return coend.numbers(number)[coend.presheaf.element_number(number, coend.task.category.identity(one))]


def check_co_yoneda(task: SetFunctor) -> Checked:
    """Co-Yoneda: T(X) is the value of the extension at h_X by t -> (X, identity, t), naturally in X.

    Naturality is tried on generating morphisms, from which it follows for all.
    """
    category = task.category
    coends = [Coend(yoneda(category, one), task) for one in category.objects]
    units = [unit_numbers(coend, one) for coend, one in zip(coends, category.objects, strict=True)]
    for one, coend, unit in zip(category.objects, coends, units, strict=True):
        if not np.array_equal(np.sort(unit), np.arange(len(coend))):
            told = f"{len(coend)} elements there, {len(unit)} of T"
            return Checked(False, f"The extension along Yoneda does not give back T at {shown(one)}: {told}.")
    tables = category.tables
    for f in category.generators:
        start, end, name = tables.domain[f], tables.codomain[f], category.morphisms[f]
        mapped = coends[start].map(yoneda_morphism(category, name), coends[end])
        if not np.array_equal(mapped[units[start]], units[end][task.actions[start][tables.place_out[f]]]):
            return Checked(False, f"The extension along Yoneda does not act like T at {shown(name)}.")
    told = f"all {len(category.objects)} objects, by t -> (identity, t), and acts like it"
    return Checked(True, f"The extension along Yoneda gives back T at {told}.")
