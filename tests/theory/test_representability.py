"""Representability against the terminal object of the category of elements; witnesses of failure; numbers of prompts."""

from itertools import combinations
from itertools import product as pairs

from hypothesis import assume, given
from hypothesis import strategies as st
from theory_cases import UNHURRIED, categories, cyclic, with_presheaf

from fmcompress.theory import (
    FiniteCategory,
    Presheaf,
    category_of_elements,
    constant,
    corepresentable,
    find_isomorphism,
    from_poset,
    is_representable,
    prompts_needed,
    side_by_side,
    terminal_objects,
    yoneda,
)

ANIMALS = from_poset([("poodle", "dog"), ("dog", "animal"), ("cat", "animal")])


def down_set(order, members):
    return Presheaf(order, {one: ["yes"] if one in members else [] for one in order.objects}, lambda _, x: x)


def reached(presheaf, one, element):
    """Pairs (object, element) that an element generates, once for each morphism."""
    category = presheaf.category
    return [(category.domain(f), presheaf.act(f, element)) for f in category.morphisms if category.codomain(f) == one]


@UNHURRIED
@given(with_presheaf())
def test_representable_iff_the_elements_have_a_terminal_object(presheaf):
    elements = category_of_elements(presheaf)
    elements.validate()
    terminal = terminal_objects(elements)
    verdict = is_representable(presheaf)
    assert bool(verdict) == bool(terminal)
    if verdict:
        assert (verdict.prompt, verdict.element) in terminal
        assert find_isomorphism(yoneda(presheaf.category, verdict.prompt), presheaf)
    assert bool(is_representable(presheaf.covariant())) == bool(verdict)
    assert category_of_elements(presheaf.covariant()) == elements.opposite


@UNHURRIED
@given(with_presheaf())
def test_every_object_that_fails_has_a_witness_that_is_right(presheaf):
    verdict, category = is_representable(presheaf), presheaf.category
    if verdict:
        assert verdict.failures == ()
        return
    assert [*dict.fromkeys(failure.prompt for failure in verdict.failures)] == [
        one for one in category.objects if one in {failure.prompt for failure in verdict.failures}
    ]
    assert {failure.prompt for failure in verdict.failures} == {
        one
        for one in category.objects
        if presheaf.at(one) or any(len(category.hom(x, one)) != len(presheaf.at(x)) for x in category.objects)
    }
    for failure in verdict.failures:
        hom = category.hom(failure.at, failure.prompt)
        assert failure.sizes == (len(hom), len(presheaf.at(failure.at)))
        if failure.twice is None:
            assert failure.sizes[0] != failure.sizes[1]
        else:
            f, g = failure.twice
            assert f != g
            assert {f, g} <= {*hom}
            assert presheaf.act(f, failure.element) == presheaf.act(g, failure.element)
            assert failure.missed in presheaf.at(failure.at)
            assert all(presheaf.act(f, failure.element) != failure.missed for f in hom)
        assert "\n" not in str(failure)


@UNHURRIED
@given(st.data())
def test_representables_are_always_found_under_any_names(data):
    category = data.draw(categories())
    assume(category.objects)
    one = data.draw(st.sampled_from(category.objects))
    presheaf = yoneda(category, one)
    new = {
        x: dict(zip(presheaf.at(x), data.draw(st.permutations(range(len(presheaf.at(x))))), strict=True))
        for x in category.objects
    }
    old = {x: {name: f for f, name in names.items()} for x, names in new.items()}
    renamed = Presheaf(
        category,
        {x: sorted(names.values()) for x, names in new.items()},
        lambda f, x: new[category.domain(f)][presheaf.act(f, old[category.codomain(f)][x])],
    )
    verdict = is_representable(renamed)
    assert verdict
    assert category.isomorphic(verdict.prompt, one)
    assert prompts_needed(renamed).count == 1
    assert prompts_needed(renamed).exact
    assert is_representable(corepresentable(category, one))


@UNHURRIED
@given(st.data())
def test_two_representables_are_two_prompts_and_not_one(data):
    """A coproduct of two is one only if it were connected: it never is."""
    category = data.draw(categories())
    assume(category.objects)
    pair = [data.draw(st.sampled_from(category.objects)) for _ in range(2)]
    both = side_by_side(*(yoneda(category, one) for one in pair))
    assert not is_representable(both)
    found = prompts_needed(both)
    assert (found.count, found.exact) == (2, True)
    rebuilt = side_by_side(*(yoneda(category, prompt) for prompt, _ in found.prompts))
    assert find_isomorphism(rebuilt, both)


@UNHURRIED
@given(with_presheaf(20, 2))
def test_fewer_prompts_cannot_generate_all(presheaf):
    everything = [(one, x) for one in presheaf.category.objects for x in presheaf.at(one)]
    assume(len(everything) <= 12)
    found = prompts_needed(presheaf)
    generated = {pair: reached(presheaf, *pair) for pair in everything}
    smallest = next(
        size
        for size in range(len(everything) + 1)
        if any({*everything} == {y for one in some for y in generated[one]} for some in combinations(everything, size))
    )
    assert found.count == smallest
    met = [pair for one in found.prompts for pair in generated[one]]
    assert {*met} == {*everything}
    assert found.exact == (len(met) == len(everything))
    assert found.exact == bool(
        find_isomorphism(side_by_side(*(yoneda(presheaf.category, p) for p, _ in found.prompts)), presheaf)
        if found.prompts
        else not everything
    )


def test_a_prompt_that_generates_freely_is_taken_before_one_of_which_it_is_a_retract():
    """Two points and one point generate each other at a representable: only the one point does so in one way."""
    points = {"two": 2, "one": 1}
    maps = {
        (a, b, images): (a, b) for a in points for b in points for images in pairs(range(points[b]), repeat=points[a])
    }
    sets = FiniteCategory(
        points,
        maps,
        {one: (one, one, (*range(size),)) for one, size in points.items()},
        lambda g, f: (f[0], g[1], tuple(g[2][point] for point in f[2])),
    )
    found = prompts_needed(yoneda(sets, "one"))
    assert is_representable(yoneda(sets, "one")).prompt == "one"
    assert found.prompts == (("one", ("one", "one", (0,))),)
    assert found.exact


def test_a_down_set_is_a_prompt_iff_it_has_a_greatest_element():
    verdict = is_representable(down_set(ANIMALS, {"poodle", "dog"}))
    assert (verdict.prompt, verdict.element) == ("dog", "yes")
    assert str(verdict) == "Represented by 'dog' with the universal element 'yes'."
    three = down_set(ANIMALS, {"poodle", "dog", "cat"})
    verdict = is_representable(three)
    assert not verdict
    assert [failure.prompt for failure in verdict.failures] == list(ANIMALS.objects)
    assert str(verdict.failures[1]) == "prompt 'dog' has 0 answers at 'cat' and the task 1"
    assert prompts_needed(three).prompts == (("dog", "yes"), ("cat", "yes"))
    assert str(prompts_needed(three)) == "2 prompts ('dog', 'cat'): every answer once."
    assert str(prompts_needed(down_set(ANIMALS, ()))) == "0 prompts (none): every answer once."


def test_prompts_that_overlap_are_not_exact():
    shared = from_poset([("wolf dog", "wolf"), ("wolf dog", "dog")])
    found = prompts_needed(down_set(shared, shared.objects))
    assert [prompt for prompt, _ in found.prompts] == ["wolf", "dog"]
    assert not found.exact
    assert str(found) == "2 prompts ('wolf', 'dog'): every answer, some in several ways."


def test_equal_sizes_are_not_enough():
    verdict = is_representable(constant(cyclic(4), range(4)))
    assert not verdict
    first = verdict.failures[0]
    assert (first.prompt, first.element, first.at, first.sizes, first.twice, first.missed) == (
        "*",
        0,
        "*",
        (4, 4),
        (0, 1),
        1,
    )
    assert str(first) == "prompt '*' with 0 gives one answer twice at '*', by 0 and 1, and never 1"
    wide = is_representable(constant(cyclic(6), range(6)))
    assert str(wide).endswith("; and 2 more.")
    assert len(wide.failures) == 6
