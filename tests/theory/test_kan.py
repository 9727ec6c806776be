"""Left Kan extensions against the definition spelt out, their universal property by enumeration, and co-Yoneda."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from theory_cases import UNHURRIED, categories, cyclic, presheaves, set_functors, with_presheaf

from fmcompress.errors import TheoryError
from fmcompress.theory import (
    NaturalTransformation,
    Presheaf,
    SetFunctor,
    check_co_yoneda,
    check_universal_property,
    colimit,
    constant,
    coproduct,
    corepresentable,
    count_natural_transformations,
    find_isomorphism,
    from_poset,
    full_subcategory,
    identity_functor,
    inclusion,
    left_kan_extension,
    natural_transformations,
    product,
    to_point,
    yoneda,
    yoneda_extension,
)
from fmcompress.theory.functor import Functor
from fmcompress.theory.kan import KanExtension


@st.composite
def functors(draw, largest=25):
    """Inclusions of parts, projections, foldings of a coproduct, and maps to a point."""
    category = draw(categories(largest))
    assume(category.objects)
    kind = draw(st.sampled_from(["identity", "part", "point", "fold", "first", "both"]))
    if kind == "identity":
        return identity_functor(category)
    if kind == "point":
        return to_point(category)
    if kind == "fold":
        twice = coproduct(category, category)
        return Functor(twice, category, {o: o[1] for o in twice.objects}, {m: m[1] for m in twice.morphisms})
    if kind == "first":
        both = product(category, draw(st.sampled_from([cyclic(2), from_poset([(0, 1)])])))
        return Functor(both, category, {o: o[0] for o in both.objects}, {m: m[0] for m in both.morphisms})
    part = inclusion(full_subcategory(category, draw(st.sets(st.sampled_from(category.objects), min_size=1))), category)
    return part if kind == "part" else to_point(category).after(part)


def spelt_out(task, functor, one):
    """The classes of triples at an object, by joining all that the definition joins."""
    source, target = functor.source, functor.target
    label = {
        (c, k, x): (c, k, x) for c in source.objects for k in target.hom(functor.of_object(c), one) for x in task.at(c)
    }
    for f in source.morphisms:
        for k in target.hom(functor.of_object(source.codomain(f)), one):
            for x in task.at(source.domain(f)):
                left = label[source.domain(f), target.compose(k, functor.of_morphism(f)), x]
                right = label[source.codomain(f), k, task.act(f, x)]
                label = {name: right if old == left else old for name, old in label.items()}
    return label


@UNHURRIED
@given(st.data())
def test_elements_are_the_classes_of_the_definition(data):
    functor = data.draw(functors(15))
    task = data.draw(set_functors(functor.source))
    extension = left_kan_extension(task, functor)
    extension.functor.validate()
    extension.unit.validate()
    for one in functor.target.objects:
        label = spelt_out(task, functor, one)
        named = {name: extension.class_of(*name) for name in label}
        assert len({*label.values()}) == len(extension.functor.at(one))
        assert len({(label[name], found) for name, found in named.items()}) == len({*label.values()})
        for c, k, x in label:
            for m in functor.target.morphisms:
                if functor.target.domain(m) == one:
                    image = extension.class_of(c, functor.target.compose(m, k), x)
                    assert extension.functor.act(m, named[c, k, x]) == image


@UNHURRIED
@given(st.data())
def test_the_universal_property_holds(data):
    functor = data.draw(functors())
    task = data.draw(presheaves(functor.source, 2))
    target = data.draw(presheaves(functor.target, 2))
    for left, right in (
        (task, target),
        (data.draw(set_functors(functor.source)), data.draw(set_functors(functor.target))),
    ):
        extension = left_kan_extension(left, functor)
        assume(count_natural_transformations(extension.functor, right) <= 300)
        found = check_universal_property(extension, right)
        assert found, str(found)


@UNHURRIED
@given(st.data())
def test_along_the_identity_nothing_changes(data):
    task = data.draw(with_presheaf())
    extension = left_kan_extension(task, identity_functor(task.category))
    assert extension.unit.is_isomorphism
    assert extension.unit.target == extension.functor


@UNHURRIED
@given(st.data())
def test_to_a_point_it_is_the_colimit(data):
    """Which for sets has as many elements as the category of elements has components."""
    task = data.draw(with_presheaf()).covariant()
    label = {(one, x): (one, x) for one in task.category.objects for x in task.at(one)}
    for f in task.category.morphisms:
        for x in task.at(task.category.domain(f)):
            old, new = label[task.category.domain(f), x], label[task.category.codomain(f), task.act(f, x)]
            label = {name: new if each == old else each for name, each in label.items()}
    assert len(colimit(task)) == len({*label.values()})
    assert len({label[pair] for pair in colimit(task)}) == len(colimit(task))


@UNHURRIED
@given(st.data())
def test_extensions_compose(data):
    first = data.draw(functors(15))
    second = data.draw(st.sampled_from([to_point(first.target), identity_functor(first.target)]))
    task = data.draw(presheaves(first.source, 2))
    steps = left_kan_extension(left_kan_extension(task, first).functor, second).functor
    assert find_isomorphism(steps, left_kan_extension(task, second.after(first)).functor)


@UNHURRIED
@given(st.data())
def test_representables_go_to_representables(data):
    functor = data.draw(functors())
    one = data.draw(st.sampled_from(functor.source.objects))
    extended = left_kan_extension(yoneda(functor.source, one), functor).functor
    assert find_isomorphism(yoneda(functor.target, functor.of_object(one)), extended)


@UNHURRIED
@given(st.data())
def test_transformations_are_extended_functorially(data):
    functor = data.draw(functors(15))
    task, other = (data.draw(presheaves(functor.source, 2)) for _ in range(2))
    assume(0 < count_natural_transformations(task, other) <= 50)
    extensions = [left_kan_extension(each, functor) for each in (task, other)]
    for one in natural_transformations(task, other):
        mapped = extensions[0].map(one, extensions[1])
        mapped.validate()
        across = NaturalTransformation.of_arrays(task, extensions[1].unit.target, extensions[1].unit.after(one).arrays)
        assert extensions[0].transpose(mapped) == across  # the unit is natural


@UNHURRIED
@given(st.data())
def test_co_yoneda(data):
    task = data.draw(with_presheaf(25)).covariant()
    assert check_co_yoneda(task)
    category = task.category
    presheaf = data.draw(presheaves(category, 2))
    extension = yoneda_extension(task)
    for one in category.objects:
        assert len(extension(yoneda(category, one))) == len(task.at(one))
        assert sorted(map(repr, extension.unit(one).values())) == sorted(map(repr, extension(yoneda(category, one))))
        assert len(yoneda_extension(corepresentable(category, one))(presheaf)) == len(presheaf.at(one))
    assume(count_natural_transformations(presheaf, presheaf) <= 20)
    for change in natural_transformations(presheaf, presheaf):
        mapped = extension.map(change)
        assert {*mapped} == {*extension(presheaf)}
        assert {*mapped.values()} <= {*extension(presheaf)}


def test_an_extension_that_can_be_read():
    animals = from_poset([("poodle", "dog"), ("dog", "animal"), ("cat", "animal")])
    part = full_subcategory(animals, ["poodle", "dog", "cat"])
    task = SetFunctor(
        part, {"poodle": [1, 2], "dog": [1], "cat": "ab"}, lambda f, x: 1 if f == ("poodle", "dog") else x
    )
    extension = left_kan_extension(task, inclusion(part, animals))
    assert extension.functor.at("animal") == (
        ("poodle", ("poodle", "animal"), 1), ("cat", ("cat", "animal"), "a"), ("cat", ("cat", "animal"), "b")
    )  # fmt: skip
    assert extension.class_of("dog", ("dog", "animal"), 1) == ("poodle", ("poodle", "animal"), 1)
    assert colimit(task) == (("poodle", 1), ("cat", "a"), ("cat", "b"))
    with pytest.raises(TheoryError, match=r"\('cat', 'animal'\): is no morphism of the image of 'dog'"):
        extension.class_of("dog", ("cat", "animal"), 1)
    with pytest.raises(TheoryError, match="a task on the category where the functor starts"):
        left_kan_extension(task, identity_functor(animals))
    with pytest.raises(TheoryError, match="between the functors that were extended"):
        extension.map(extension.unit, extension)
    with pytest.raises(TheoryError, match=r"Give presheaf.covariant\(\)"):
        yoneda_extension(constant(animals, "a"))
    with pytest.raises(TheoryError, match="a presheaf and a covariant functor"):
        yoneda_extension(task)(task)


def test_the_check_fails_for_what_is_no_extension():
    """A functor that is too large has too many transformations, and the unit does not tell them apart."""
    two = cyclic(2)
    extension = left_kan_extension(constant(two, "a"), identity_functor(two))
    larger = Presheaf(two, {"*": "ab"}, lambda _, x: x)
    extension.functor = larger
    extension.unit = NaturalTransformation(constant(two, "a"), larger, {"*": {"a": "a"}})
    found = check_universal_property(extension, constant(two, "xy"))
    assert str(found) == "Nat(Lan T, S) is not Nat(T, S K): 4 and 2 transformations, 2 of them matched."


def test_the_universal_property_needs_a_bijection_and_not_equal_numbers(monkeypatch):
    extension = left_kan_extension(constant(cyclic(2), "a"), identity_functor(cyclic(2)))
    target = constant(cyclic(2), "bc")
    assert check_universal_property(extension, target)
    one = next(natural_transformations(extension.task, target))
    monkeypatch.setattr(KanExtension, "transpose", lambda *_: one)
    found = check_universal_property(extension, target)
    assert str(found) == "Nat(Lan T, S) is not Nat(T, S K): 2 and 2 transformations, 1 of them matched."
