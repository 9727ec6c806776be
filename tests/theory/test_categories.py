"""Finite categories: their laws, with a witness where one is broken, and what they are made from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from theory_cases import UNHURRIED, categories, cyclic, is_category, monoids, rebuilt, written_out

from fmcompress.errors import TheoryError
from fmcompress.theory import (
    FiniteCategory,
    coproduct,
    discrete,
    from_group_action,
    from_monoid,
    from_poset,
    full_subcategory,
    product,
)

ANIMALS = [("poodle", "dog"), ("dog", "animal"), ("cat", "animal")]


@UNHURRIED
@given(categories())
def test_random_categories_obey_the_laws(category):
    assert is_category(*written_out(category))
    category.validate()
    assert rebuilt(category) == category


@UNHURRIED
@given(categories())
def test_the_opposite_of_the_opposite_is_the_category(category):
    assert category.opposite.opposite is category
    assert is_category(*written_out(category.opposite))
    fresh = FiniteCategory.of_tables(category.objects, category.morphisms, category.opposite.tables.opposite())
    assert fresh == category


@UNHURRIED
@given(categories())
def test_all_morphisms_are_composites_of_generators(category):
    found = {*(category.identity(one) for one in category.objects)}
    steps = [category.morphisms[number] for number in category.generators]
    while True:
        more = {category.compose(f, s) for f in found for s in steps if category.domain(f) == category.codomain(s)}
        if more <= found:
            break
        found |= more
    assert found == {*category.morphisms}
    assert not {*steps} & {category.identity(one) for one in category.objects}


@UNHURRIED
@given(st.data())
def test_a_composite_that_was_changed_is_found_and_named(data):
    """Every mistake in a table is found, and a triple that is named breaks the law."""
    objects, morphisms, identities, compose = written_out(data.draw(categories(20)))
    pair = data.draw(st.sampled_from(sorted(compose, key=repr))) if compose else None
    if pair is None:
        return
    compose[pair] = data.draw(st.sampled_from(list(morphisms)))
    if is_category(objects, morphisms, identities, compose):
        FiniteCategory(objects, morphisms, identities, compose)
        return
    with pytest.raises(TheoryError) as caught:
        FiniteCategory(objects, morphisms, identities, compose)
    where = caught.value.where
    assert "\n" not in str(caught.value)
    if len(where) == 3:
        h, g, f = where
        assert compose[compose[h, g], f] != compose[h, compose[g, f]]
    elif "identity" in str(caught.value):
        assert compose[where] != (where[1] if where[0] in identities.values() else where[0])
    else:
        g, f = where
        assert morphisms[compose[g, f]] != (morphisms[f][0], morphisms[g][1])


@UNHURRIED
@given(st.integers(2, 4), st.randoms(use_true_random=False))
def test_random_tables_are_rarely_associative_and_never_passed_by_mistake(size, random):
    table = [[random.randrange(size) if a and b else a + b for b in range(size)] for a in range(size)]
    associative = all(
        table[table[a][b]][c] == table[a][table[b][c]] for a in range(size) for b in range(size) for c in range(size)
    )
    try:
        from_monoid(range(size), table)
    except TheoryError as error:
        a, b, c = error.where
        assert table[table[a][b]][c] != table[a][table[b][c]]
        assert not associative
    else:
        assert associative


def test_a_table_that_is_not_associative_names_the_triple():
    table = [["1", "a", "b"], ["a", "b", "b"], ["b", "b", "a"]]
    with pytest.raises(TheoryError, match=r"\(h g\) f = 'a' and h \(g f\) = 'b' for h = 'a', g = 'a', f = 'b'"):
        from_monoid("1ab", table)


@UNHURRIED
@given(monoids())
def test_relabelled_monoids_have_the_same_products(monoid):
    names = {one: ("m", number) for number, one in enumerate(monoid.morphisms)}
    back = {name: one for one, name in names.items()}
    renamed = from_monoid(names.values(), lambda a, b: names[monoid.compose(back[a], back[b])])
    assert all(names[monoid.compose(a, b)] == renamed.compose(names[a], names[b]) for a in names for b in names)


def test_an_order_is_closed_and_its_morphisms_are_pairs():
    animals = from_poset(ANIMALS)
    assert animals.objects == ("poodle", "dog", "animal", "cat")
    assert animals.hom("poodle", "animal") == (("poodle", "animal"),)
    assert animals.hom("cat", "dog") == ()
    assert animals.compose(("dog", "animal"), ("poodle", "dog")) == ("poodle", "animal")
    assert len(animals.morphisms) == 8
    assert from_poset({("b", "c"), ("a", "b")}) == from_poset([("a", "b"), ("b", "c")])
    assert from_poset([("x", "x")]).morphisms == (("x", "x"),)
    with pytest.raises(TheoryError, match="the cycle 2 <= 3 <= 4 <= 2"):
        from_poset([(1, 2), (2, 3), (3, 4), (4, 2)])
    with pytest.raises(TheoryError, match=r"0 <= 1 <= 2 <= 3 <= 4 <= 5 <= …") as caught:
        from_poset([(one, (one + 1) % 9) for one in range(9)])
    assert caught.value.where == (*range(9), 0)


def test_sets_products_coproducts_and_parts():
    animals, turns = from_poset(ANIMALS), cyclic(3)
    assert discrete("ab").morphisms == ("a", "b")
    both = product(animals, turns)
    assert both.compose((("dog", "animal"), 1), (("poodle", "dog"), 1)) == (("poodle", "animal"), 2)
    beside = coproduct(animals, turns)
    assert beside.hom((0, "cat"), (1, "*")) == ()
    assert beside.hom((1, "*"), (1, "*")) == ((1, 0), (1, 1), (1, 2))
    assert full_subcategory(animals, {"animal", "poodle"}).morphisms == tuple(
        (a, b) for a, b in animals.morphisms if {a, b} <= {"animal", "poodle"}
    )
    assert coproduct() == discrete("")
    assert animals.isomorphic("cat", "cat")
    assert not animals.isomorphic("cat", "animal")


def test_what_is_no_group_action_is_refused():
    good = {(g, x): (x + g) % 2 for g in range(2) for x in range(2)}
    assert len(from_group_action(cyclic(2), range(2), good).morphisms) == 4
    for wrong, told in (
        ({**good, (1, 0): 0}, "does not hold for h = 1, g = 1, x = 1"),
        ({**good, (1, 0): 7}, "7 is none of the points"),
        (dict.fromkeys(good, 0), "to move no point"),
    ):
        with pytest.raises(TheoryError, match=told):
            from_group_action(cyclic(2), range(2), wrong)
    with pytest.raises(TheoryError, match="0: has no inverse"):
        from_group_action(from_monoid([0, 1], lambda a, b: a * b), "x", lambda g, x: x)
    with pytest.raises(TheoryError, match="one object, got 4"):
        from_group_action(from_poset(ANIMALS), "x", lambda g, x: x)


TWO = dict(objects="xy", morphisms={"1x": "xx", "1y": "yy", "f": "xy"}, identities={"x": "1x", "y": "1y"}, compose={})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"objects": "xyx"}, "'x' stands there twice"),
        ({"morphisms": {**TWO["morphisms"], "f": "xz"}}, "'z': no such object. Known: 'x', 'y'"),
        ({"morphisms": {**TWO["morphisms"], "f": "x"}}, "'f': expected a domain and a codomain"),
        ({"identities": {"x": "1x"}}, "'y': has no identity"),
        ({"identities": {"x": "1x", "y": "1y", "z": "1x"}}, "'z': no such object"),
        ({"identities": {"x": "1x", "y": "2y"}}, "'2y': no such morphism"),
        ({"identities": {"x": "1x", "y": "f"}}, "'y': expected an identity from the object to itself"),
        ({"compose": {("f", "f"): "f"}}, "'f' after 'f': the one does not start where the other ends"),
        ({"compose": {"f": "f"}}, r"expected pairs \(g, f\)"),
        ({"compose": {("f", "1x"): "1x"}}, "'f' after '1x': expected a morphism from 'x' to 'y', got '1x'"),
        ({"compose": {("f", "1x"): "g"}}, "expected one of the morphisms as composite"),
        ({"compose": {("1x", "1x"): ["f"]}}, "expected one of the morphisms as composite"),
        ({"morphisms": {**TWO["morphisms"], "g": "yx"}}, "'f' after 'g': expected one of the morphisms"),
    ],
)
def test_what_is_no_table_of_a_category_is_refused(change, told):
    given = {**TWO, **change}
    given["morphisms"] = {name: tuple(ends) for name, ends in given["morphisms"].items()}
    with pytest.raises(TheoryError, match=told) as caught:
        FiniteCategory(**given)
    assert "\n" not in str(caught.value)


def test_an_identity_that_changes_something_is_refused():
    with pytest.raises(TheoryError, match="'a' after '1': an identity must change nothing, got 'b'"):
        FiniteCategory(
            "x",
            dict.fromkeys("1ab", ("x", "x")),
            {"x": "1"},
            lambda g, f: "b" if (g, f) == ("a", "1") else f if g == "1" else g,
        )


def test_unknown_names_are_refused():
    animals = from_poset(ANIMALS)
    with pytest.raises(TheoryError, match="'horse': no such object. Known: 'poodle', 'dog', 'animal', 'cat'"):
        animals.hom("horse", "cat")
    with pytest.raises(TheoryError, match=r"\['dog'\]: no such object"):
        animals.identity(["dog"])
    with pytest.raises(TheoryError, match="the one does not start where the other ends"):
        animals.compose(("poodle", "dog"), ("dog", "animal"))
    assert repr(animals) == "FiniteCategory(4 objects, 8 morphisms)"
