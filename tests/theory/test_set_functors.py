"""Functors between categories and to finite sets, and their transformations: laws, and what breaks them."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from theory_cases import UNHURRIED, all_families, categories, cyclic, is_natural, presheaves, with_presheaf

from fmcompress.errors import TheoryError
from fmcompress.theory import (
    Functor,
    NaturalTransformation,
    Presheaf,
    SetFunctor,
    constant,
    discrete,
    from_poset,
    full_subcategory,
    identity_functor,
    identity_transformation,
    inclusion,
    product,
    side_by_side,
    to_point,
    yoneda,
)

ANIMALS = from_poset([("poodle", "dog"), ("dog", "animal"), ("cat", "animal")])


def maps_of(presheaf):
    category = presheaf.category
    return {f: {x: presheaf.act(f, x) for x in presheaf.at(category.codomain(f))} for f in category.morphisms}


def first_wrong(category, maps):
    """A pair of morphisms and an element where the law of a presheaf is broken, word for word."""
    for g in category.morphisms:
        for f in category.morphisms:
            if category.domain(g) == category.codomain(f):
                for x, image in maps[g].items():
                    if maps[category.compose(g, f)][x] != maps[f][image]:
                        return g, f, x
    return None


@UNHURRIED
@given(with_presheaf())
def test_random_presheaves_obey_the_laws(presheaf):
    presheaf.validate()
    maps = maps_of(presheaf)
    assert first_wrong(presheaf.category, maps) is None
    same = Presheaf(presheaf.category, {one: presheaf.at(one) for one in presheaf.category.objects}, maps)
    assert same == presheaf
    turned = presheaf.covariant()
    turned.validate()
    assert turned.category is presheaf.category.opposite
    assert all(turned.act(f, x) == image for f, images in maps.items() for x, image in images.items())


@UNHURRIED
@given(st.data())
def test_a_presheaf_that_was_changed_is_found_and_named(data):
    presheaf = data.draw(with_presheaf(20))
    category, maps = presheaf.category, maps_of(presheaf)
    places = [(f, x) for f in category.morphisms for x in maps[f]]
    assume(places)
    f, x = data.draw(st.sampled_from(places))
    maps[f][x] = data.draw(st.sampled_from(presheaf.at(category.domain(f))))
    sets = {one: presheaf.at(one) for one in category.objects}
    moved = any(maps[category.identity(one)][x] != x for one in category.objects for x in sets[one])
    if not moved and first_wrong(category, maps) is None:
        Presheaf(category, sets, maps)
        return
    with pytest.raises(TheoryError) as caught:
        Presheaf(category, sets, maps)
    where = caught.value.where
    if len(where) == 3:
        g, f, x = where
        assert maps[category.compose(g, f)][x] != maps[f][maps[g][x]]
    else:
        assert any(maps[where[0]][x] != x for x in maps[where[0]])


@UNHURRIED
@given(st.data())
def test_the_functor_of_a_subcategory_and_one_that_was_changed(data):
    category = data.draw(categories())
    assume(category.objects)
    part = full_subcategory(category, data.draw(st.sets(st.sampled_from(category.objects), min_size=1)))
    functor = inclusion(part, category)
    assert functor.unfaithful() is None
    assert functor.opposite.opposite.on_morphisms is functor.on_morphisms
    functor.opposite.validate()
    assert identity_functor(category).after(functor).of_morphism(part.morphisms[-1]) == part.morphisms[-1]
    morphism = data.draw(st.sampled_from(part.morphisms))
    images = {one: one for one in part.morphisms}
    images[morphism] = data.draw(st.sampled_from(category.morphisms))
    objects = {one: one for one in part.objects}
    good = all(
        (category.domain(image), category.codomain(image)) == (part.domain(one), part.codomain(one))
        for one, image in images.items()
    )
    good = good and all(images[part.identity(one)] == category.identity(one) for one in part.objects)
    pairs = [(g, f) for g in part.morphisms for f in part.morphisms if part.domain(g) == part.codomain(f)]
    good = good and all(images[part.compose(g, f)] == category.compose(images[g], images[f]) for g, f in pairs)
    if good:
        Functor(part, category, objects, images)
        return
    with pytest.raises(TheoryError) as caught:
        Functor(part, category, objects, images)
    if len(caught.value.where) == 2:
        g, f = caught.value.where
        assert images[part.compose(g, f)] != category.compose(images[g], images[f])


@UNHURRIED
@given(st.data())
def test_a_family_is_accepted_iff_it_is_natural(data):
    source = data.draw(with_presheaf(20, 2))
    target = data.draw(presheaves(source.category, 2))
    family = data.draw(st.sampled_from([*all_families(source, target)] or [None]))
    assume(family is not None)
    if is_natural(source, target, family):
        assert NaturalTransformation(source, target, family).components == family
        return
    with pytest.raises(TheoryError, match="does not hold for f = ") as caught:
        NaturalTransformation(source, target, family)
    f, x = caught.value.where
    start, end = source.category.codomain(f), source.category.domain(f)
    assert target.act(f, family[start][x]) != family[end][source.act(f, x)]


@UNHURRIED
@given(st.data())
def test_side_by_side_and_restricted(data):
    category = data.draw(categories())
    parts = [data.draw(presheaves(category)) for _ in range(2)]
    both = side_by_side(*parts)
    both.validate()
    for one in category.objects:
        assert both.at(one) == tuple((place, x) for place, part in enumerate(parts) for x in part.at(one))
    for f in category.morphisms:
        for place, x in both.at(category.codomain(f)):
            assert both.act(f, (place, x)) == (place, parts[place].act(f, x))
    assert both.restrict(identity_functor(category)) == both
    point = constant(to_point(category).target, "ab").restrict(to_point(category))
    assert point == constant(category, "ab")


def test_transformations_compose():
    whole = side_by_side(yoneda(ANIMALS, "dog"), yoneda(ANIMALS, "dog"))
    swap = NaturalTransformation(
        whole, whole, {one: {(n, x): (1 - n, x) for n, x in whole.at(one)} for one in ANIMALS.objects}
    )
    assert swap.after(swap) == identity_transformation(whole)
    assert swap != identity_transformation(whole)
    assert swap.is_isomorphism
    fold = NaturalTransformation(
        whole, yoneda(ANIMALS, "dog"), {one: {(n, x): x for n, x in whole.at(one)} for one in ANIMALS.objects}
    )
    assert fold.after(swap) == fold
    assert not fold.is_isomorphism
    with pytest.raises(TheoryError, match="does not start where the other ends"):
        swap.after(fold)


ONE = {"poodle": "a", "dog": "a", "animal": "", "cat": ""}
DOWN = {("poodle", "dog"): {"a": "a"}, ("poodle", "animal"): {}, ("dog", "animal"): {}, ("cat", "animal"): {}}


@pytest.mark.parametrize(
    ("sets", "maps", "told"),
    [
        ({**ONE, "dog": "ab"}, DOWN, r"\('poodle', 'dog'\): sends the element 'b' nowhere"),
        ({**ONE, "cat": "aa"}, DOWN, "'cat': an element stands there twice"),
        ({"dog": "a"}, DOWN, "'poodle': has no set"),
        ({**ONE, "horse": ""}, DOWN, "'horse': no such object"),
        (ONE, {**DOWN, "horse": {}}, "'horse': no such morphism"),
        (ONE, {**DOWN, ("poodle", "dog"): {"a": "b"}}, "'b': is no element of the set at 'poodle'"),
        ({**ONE, "animal": "a"}, {**DOWN, ("cat", "animal"): {"a": "a"}}, "is no element|nowhere"),
        (ONE, {**DOWN, ("dog", "dog"): {}}, "sends the element 'a' nowhere"),
    ],
)
def test_what_is_no_presheaf_is_refused(sets, maps, told):
    assert Presheaf(ANIMALS, ONE, DOWN).at("dog") == ("a",)
    with pytest.raises(TheoryError, match=told) as caught:
        Presheaf(ANIMALS, sets, maps)
    assert "\n" not in str(caught.value)


def test_an_identity_that_moves_an_element_is_refused():
    with pytest.raises(TheoryError, match="'dog': an identity must move no element"):
        SetFunctor(discrete(["dog"]), {"dog": "ab"}, {"dog": {"a": "b", "b": "a"}})


def test_the_law_that_is_named_is_that_of_the_kind():
    with pytest.raises(
        TheoryError, match=r"F\(g f\) = F\(g\) F\(f\) does not hold for g = \d, f = \d and the element 0"
    ):
        SetFunctor(cyclic(3), {"*": range(2)}, lambda f, x: (x + f) % 2)
    with pytest.raises(TheoryError, match=r"F\(g f\) = F\(f\) F\(g\) does not hold"):
        Presheaf(cyclic(3), {"*": range(2)}, lambda f, x: (x + f) % 2)


def test_what_is_no_functor_or_transformation_is_refused():
    two = cyclic(2)
    for objects, morphisms, told in (
        ({}, {}, "is sent nowhere"),
        ({"*": "*"}, {}, "1: is sent nowhere"),
        ({"*": "*"}, {1: 7}, "7: no such morphism"),
        ({"*": "*"}, {1: 1, 7: 1}, "7: no such morphism"),
        ({"*": "*", "x": "*"}, {1: 1}, "'x': no such object"),
        ({"*": "*"}, {0: 1, 1: 0}, "image of the identity of '\\*' is no identity"),
        ({"*": "*"}, {1: 1}, r"F\(g f\) = F\(g\) F\(f\) does not hold for g = 1, f = 1"),
    ):
        with pytest.raises(TheoryError, match=told):
            Functor(two, cyclic(4), objects, morphisms)
    with pytest.raises(TheoryError, match=r"\('poodle', 'dog'\): expected a morphism from 'cat' to 'animal', got"):
        Functor(
            from_poset([("poodle", "dog")]),
            ANIMALS,
            {"poodle": "cat", "dog": "animal"},
            {("poodle", "dog"): ("dog", "dog")},
        )
    assert to_point(two).unfaithful() == ("faithful", (0, 1))
    assert Functor(two, cyclic(4), {"*": "*"}, {1: 2}).unfaithful() == ("full", (1,))
    for left, right in (
        (constant(two, "a"), constant(cyclic(3), "a")),
        (constant(two, "a"), constant(two, "a").covariant()),
    ):
        with pytest.raises(TheoryError, match="two functors of one kind on one category"):
            NaturalTransformation(left, right, {"*": {"a": "a"}})
    for family, told in (({}, "'a' at '\\*': is sent nowhere"), ({"*": {"a": "a", "b": "a"}}, "'b': is no element")):
        with pytest.raises(TheoryError, match=told):
            NaturalTransformation(constant(two, "a"), constant(two, "a"), family)
    with pytest.raises(TheoryError, match="a functor into the category of this one"):
        constant(two, "a").restrict(to_point(two))
    with pytest.raises(TheoryError, match="functors of one kind"):
        side_by_side(constant(two, "a"), constant(product(two, two), "a"))
    with pytest.raises(TheoryError, match="does not start where the other ends"):
        to_point(two).after(to_point(two))
