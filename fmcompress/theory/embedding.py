"""The Yoneda embedding, the bijection of its lemma both ways, and the check that it is fully faithful."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .category import FiniteCategory, Name, shown
from .enumeration import natural_transformations
from .natural import NaturalTransformation
from .set_functor import Presheaf, SetFunctor
from .tables import Ints, Tables


@dataclass(frozen=True)
class Checked:
    """Whether a statement held where it was tried, and one sentence that says so or where it did not."""

    holds: bool
    sentence: str

    def __bool__(self) -> bool:
        return self.holds

    def __str__(self) -> str:
        return self.sentence


def yoneda(category: FiniteCategory, prompt: Name) -> Presheaf:
    """h_P, the presheaf X -> Hom(X, P): what the prompt P answers for each object."""
    return Presheaf.of_actions(category, *_homs(category.opposite, category.object_number(prompt)))


def corepresentable(category: FiniteCategory, one: Name) -> SetFunctor:
    """The covariant functor X -> Hom(P, X)."""
    return SetFunctor.of_actions(category, *_homs(category, category.object_number(one)))


def yoneda_morphism(category: FiniteCategory, morphism: Name) -> NaturalTransformation:
    """h_f, from h_P to h_Q for f: P -> Q: every g goes to f after g."""
    source = yoneda(category, category.domain(morphism))
    target = yoneda(category, category.codomain(morphism))
    tables = category.tables
    after = tables.after(category.morphism_number(morphism))
    start, end = tables.domain[category.morphism_number(morphism)], tables.codomain[category.morphism_number(morphism)]
    arrays = tuple(
        np.searchsorted(tables.hom(one, end), after[tables.place_in[tables.hom(one, start)]])
        for one in range(len(category.objects))
    )
    return NaturalTransformation.of_arrays(source, target, arrays)


def transformation_of(presheaf: Presheaf, prompt: Name, element: Name) -> NaturalTransformation:
    """The transformation h_P -> F that takes f to F(f) u, for an element u of F(P)."""
    source, category = yoneda(presheaf.category, prompt), presheaf.category
    tables, number = presheaf.along.tables, category.object_number(prompt)
    column = presheaf.actions[number][:, presheaf.element_number(number, element)]
    arrays = tuple(column[tables.place_out[tables.hom(number, one)]] for one in range(len(category.objects)))
    return NaturalTransformation.of_arrays(source, presheaf, arrays)


def element_of(transformation: NaturalTransformation, prompt: Name) -> Any:
    """The element of F(P) that a transformation h_P -> F is: where it takes the identity of P."""
    return transformation.at(prompt, transformation.source.category.identity(prompt))


def check_yoneda(presheaf: Presheaf) -> Checked:
    """Yoneda's lemma for one presheaf F: Nat(h_P, F) = F(P) for every P.

    All transformations are enumerated, without the lemma, and held against those that the elements of F(P) give.
    """
    category, count = presheaf.category, 0
    for prompt in category.objects:
        given = [transformation_of(presheaf, prompt, element) for element in presheaf.at(prompt)]
        found = list(natural_transformations(yoneda(category, prompt), presheaf))
        back = [element_of(one, prompt) for one in found]
        if sorted(map(_key, given)) != sorted(map(_key, found)) or sorted(map(repr, back)) != sorted(
            map(repr, presheaf.at(prompt))
        ):
            told = f"{len(found)} transformations and {len(given)} elements at {shown(prompt)}"
            return Checked(False, f"Yoneda's lemma does not hold: {told}.")
        count += len(found)
    return Checked(True, f"Nat(h_P, F) is F(P) for all {len(category.objects)} objects: {count} transformations.")


def check_fully_faithful(category: FiniteCategory) -> Checked:
    """That Hom(P, Q) = Nat(h_P, h_Q) by f -> h_f for all P and Q, enumerating the right side."""
    for p in category.objects:
        for q in category.objects:
            source, target = yoneda(category, p), yoneda(category, q)
            given = [_key(yoneda_morphism(category, f)) for f in category.hom(p, q)]
            found = [_key(one) for one in natural_transformations(source, target)]
            if sorted(given) != sorted(found):
                told = f"{len(given)} morphisms and {len(found)} transformations from {shown(p)} to {shown(q)}"
                return Checked(False, f"The Yoneda embedding is not fully faithful: {told}.")
    told = f"all {len(category.morphisms)} morphisms are all transformations between representables"
    return Checked(True, f"The Yoneda embedding is fully faithful: {told}.")


def _key(transformation: NaturalTransformation) -> bytes:
    return b"".join(array.tobytes() for array in transformation.arrays)


def _homs(category: FiniteCategory, start: int) -> tuple[list[tuple[Any, ...]], list[Ints]]:
    """The elements and actions of X -> Hom(start, X)."""
    tables: Tables = category.tables
    homs = [tables.hom(start, one) for one in range(len(category.objects))]
    elements = [tuple(category.morphisms[f] for f in hom) for hom in homs]
    place = np.empty(len(category.morphisms), np.int64)  # of a morphism in its hom
    for hom in homs:
        place[hom] = np.arange(len(hom))
    actions = [place[block[:, tables.place_in[hom]]] for block, hom in zip(tables.blocks, homs, strict=True)]
    return elements, actions
