"""Natural transformations enumerated against all families of functions; Yoneda's lemma and the embedding."""

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st
from theory_cases import (
    UNHURRIED,
    all_families,
    categories,
    cyclic,
    is_natural,
    presheaves,
    same_families,
    with_presheaf,
)

from fmcompress.errors import TheoryError
from fmcompress.theory import (
    check_fully_faithful,
    check_yoneda,
    constant,
    corepresentable,
    count_natural_transformations,
    discrete,
    element_of,
    find_isomorphism,
    from_poset,
    natural_transformations,
    side_by_side,
    transformation_of,
    yoneda,
    yoneda_morphism,
)


@UNHURRIED
@given(st.data())
def test_enumeration_finds_exactly_the_natural_families(data):
    source = data.draw(with_presheaf(20, 2))
    target = data.draw(presheaves(source.category, 2))
    wanted = [family for family in all_families(source, target) if is_natural(source, target, family)]
    found = list(natural_transformations(source, target))
    for one in found:
        one.validate()
    assert same_families([one.components for one in found], wanted)
    assert count_natural_transformations(source, target) == len(found)
    assert found == list(natural_transformations(source, target))
    isomorphisms = [one for one in found if one.is_isomorphism]
    first = find_isomorphism(source, target)
    assert first in isomorphisms if isomorphisms else first is None


def test_what_morphisms_make_equal_stays_equal():
    """A point that both turns leave alone goes to none that they move; a fixed one is where it may go."""
    still, moved, both = constant(cyclic(2), "a"), yoneda(cyclic(2), "*"), constant(cyclic(2), "bc")
    assert list(natural_transformations(still, moved)) == []
    assert [count_natural_transformations(*two) for two in ((still, moved), (moved, still), (still, both))] == [0, 1, 2]
    mixed = side_by_side(moved, both)
    assert count_natural_transformations(still, mixed) == 2


@UNHURRIED
@given(with_presheaf())
def test_yoneda_counts(presheaf):
    category = presheaf.category
    for one in category.objects:
        representable = yoneda(category, one)
        assert count_natural_transformations(representable, presheaf) == len(presheaf.at(one))
        found = list(natural_transformations(representable, presheaf))
        assert {element_of(each, one) for each in found} == {*presheaf.at(one)}
        for element in presheaf.at(one):
            given_by = transformation_of(presheaf, one, element)
            given_by.validate()
            assert given_by in found
            assert element_of(given_by, one) == element
    assert check_yoneda(presheaf)


@UNHURRIED
@given(categories(25))
def test_the_embedding_is_a_fully_faithful_functor(category):
    for one in category.objects:
        yoneda(category, one).validate()
        corepresentable(category, one).validate()
        assert corepresentable(category, one) == yoneda(category.opposite, one).covariant()
    for f in category.morphisms:
        image = yoneda_morphism(category, f)
        image.validate()
        assert all(
            image.at(one, g) == category.compose(f, g)
            for one in category.objects
            for g in category.hom(one, category.domain(f))
        )
        for g in category.morphisms:
            if category.domain(g) == category.codomain(f):
                assert yoneda_morphism(category, g).after(image) == yoneda_morphism(category, category.compose(g, f))
    assert check_fully_faithful(category)


@UNHURRIED
@given(st.data())
def test_a_shuffled_copy_is_isomorphic(data):
    presheaf = data.draw(with_presheaf())
    category = presheaf.category
    copies = side_by_side(presheaf, presheaf, constant(category, "a"))
    shuffled = type(copies)(
        category,
        {one: data.draw(st.permutations(copies.at(one))) for one in category.objects},
        copies.act,
    )
    found = find_isomorphism(copies, shuffled)
    found.validate()
    assert found.is_isomorphism


def test_many_components_are_counted_and_matched_without_listing():
    points = discrete(range(3))
    many, more = constant(points, range(20)), constant(points, range(21))
    assert count_natural_transformations(many, more) == 21**60
    assert find_isomorphism(many, many).is_isomorphism
    assert find_isomorphism(many, more) is None
    assert len(list(islice(natural_transformations(constant(points, range(3)), more), 5))) == 5
    assert list(natural_transformations(constant(points, "ab"), constant(points, ""))) == []
    assert len(list(natural_transformations(constant(points, ""), more))) == 1


def test_equal_sizes_are_no_isomorphism():
    two = cyclic(2)
    assert find_isomorphism(yoneda(two, "*"), constant(two, "ab")) is None
    assert (
        find_isomorphism(side_by_side(yoneda(two, "*"), constant(two, "ab")), side_by_side(*[yoneda(two, "*")] * 2))
        is None
    )


def test_the_checks_say_what_they_found():
    animals = from_poset([("poodle", "dog"), ("dog", "animal"), ("cat", "animal")])
    assert str(check_yoneda(yoneda(animals, "dog"))) == "Nat(h_P, F) is F(P) for all 4 objects: 2 transformations."
    assert str(check_fully_faithful(animals)) == (
        "The Yoneda embedding is fully faithful: all 8 morphisms are all transformations between representables."
    )
    with pytest.raises(TheoryError, match="'horse': no such object"):
        yoneda(animals, "horse")
    with pytest.raises(TheoryError, match="'no': is no element of the set at 'dog'"):
        transformation_of(yoneda(animals, "dog"), "dog", "no")


@pytest.mark.parametrize("name", ["natural_transformations", "_of_morphism"])
def test_a_check_fails_when_the_enumeration_is_wrong(monkeypatch, name):
    from fmcompress.theory import embedding

    true = getattr(embedding, name)
    animals = from_poset([("poodle", "dog"), ("dog", "animal")])
    if name == "natural_transformations":
        monkeypatch.setattr(embedding, name, lambda *given: list(true(*given))[1:])
        assert not check_yoneda(yoneda(animals, "dog"))
    else:
        monkeypatch.setattr(embedding, name, lambda source, target, _: true(source, target, 0))
    assert not check_fully_faithful(cyclic(2))
