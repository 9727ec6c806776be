"""Tasks over hierarchies, against trying all sets of prompts; what is no hierarchy."""

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fmcompress.errors import ConfigError, TheoryError
from fmcompress.theory import Presheaf, from_poset, is_representable, prompts_needed
from fmcompress.theory.hierarchy import Hierarchy
from fmcompress.theory.order_diagnosis import diagnose_order
from fmcompress.theory.tasks import labels_of

PETS = (("poodle", "dog"), ("beagle", "dog"), ("dog", "animal"), ("cat", "animal"))


@st.composite
def edges(draw, most=5):
    """Edges of a random order: from an object to a later one, under names that are no order."""
    count = draw(st.integers(2, most))
    names = draw(st.permutations([f"n{at}" for at in range(count)]))
    pairs = [(names[a], names[b]) for a, b in combinations(range(count), 2)]
    return draw(st.lists(st.sampled_from(pairs), min_size=1, unique=True))


def reached(pairs):
    """object -> all it is a kind of, itself among them, by following edges."""
    above = {name: {name} for pair in pairs for name in pair}
    for _ in above:
        for child, parent in pairs:
            above[child] |= above[parent]
    return above


def fewest_prompts(above, labels):
    """The least number of objects that say yes to just what is known to be yes, trying all; None if none do."""
    for size in range(1, len(above) + 1):
        for some in combinations(above, size):
            if all(label is None or bool(above[name] & set(some)) == label for name, label in labels.items()):
                return size
    return None


def labelled(hierarchy, labels):
    return labels_of([labels[name] if labels[name] is None else int(labels[name]) for name in hierarchy.objects])


@settings(max_examples=60, deadline=None)
@given(edges())
def test_every_task_over_a_small_order_needs_as_many_prompts_as_are_found(pairs):
    hierarchy, above = Hierarchy.from_edges(pairs), reached(pairs)
    assert {name: {hierarchy.objects[at] for at in np.flatnonzero(row)} for name, row in
            zip(hierarchy.objects, hierarchy.below, strict=True)} == above  # fmt: skip
    for bits in product((False, True), repeat=len(above)):
        labels = dict(zip(hierarchy.objects, bits, strict=True))
        if len(set(bits)) == 2:
            check(hierarchy, above, labels)


@settings(max_examples=150, deadline=None)
@given(edges(6), st.data())
def test_objects_without_label_may_be_prompts(pairs, data):
    hierarchy, above = Hierarchy.from_edges(pairs), reached(pairs)
    some = st.lists(st.sampled_from([True, False, None]), min_size=len(above), max_size=len(above))
    values = data.draw(some.filter(lambda each: {True, False} <= set(each)))
    check(hierarchy, above, dict(zip(hierarchy.objects, values, strict=True)))


def check(hierarchy, above, labels):
    (task,) = diagnose_order(hierarchy, labelled(hierarchy, labels)).tasks
    fewest = fewest_prompts(above, labels)
    assert task.fewest
    against = {(x, y) for x in above for y in above[x] if labels[x] is False and labels[y] is True}
    if fewest is None:
        assert (task.verdict, task.prompts) == ("fine-tuning", ())
        assert task.violation in against
        return
    assert not against
    assert task.violation is None
    assert len(task.prompts) == fewest
    assert task.verdict == ("one prompt" if fewest == 1 else "k prompts")
    for name, label in labels.items():
        assert label is None or bool(above[name] & set(task.prompts)) == label
    if None not in labels.values():
        greatest = {x for x in above if labels[x] and not any(labels[y] for y in above[x] - {x})}
        assert set(task.prompts) == greatest


@settings(max_examples=40, deadline=None)
@given(edges(4))
def test_finite_categories_say_the_same(pairs):
    """A task of yes and no as a presheaf of one element where it holds, on the order as a category."""
    hierarchy, category = Hierarchy.from_edges(pairs), from_poset(pairs)
    assert set(category.morphisms) == {(x, y) for x, some in reached(pairs).items() for y in some}
    for bits in product((False, True), repeat=len(hierarchy.objects)):
        if len(set(bits)) < 2:
            continue
        (task,) = diagnose_order(hierarchy, labels_of(list(bits))).tasks
        sets = {name: ["*"] if yes else [] for name, yes in zip(hierarchy.objects, bits, strict=True)}
        try:
            presheaf = Presheaf(category, sets, lambda morphism, element: element)
        except TheoryError:
            assert task.violation
            continue
        assert task.violation is None
        found, needed = is_representable(presheaf), prompts_needed(presheaf)
        assert (task.verdict == "one prompt") == bool(found)
        assert {prompt for prompt, _ in needed.prompts} == set(task.prompts)
        if found:
            assert task.prompts == (found.prompt,)


def test_the_outcomes_over_pets():
    hierarchy = Hierarchy.from_edges(PETS)

    def one(yes, **options):
        labels = labels_of([int(name in yes) for name in hierarchy.objects])
        return diagnose_order(hierarchy, labels, **options).tasks[0]

    assert one({"poodle", "beagle", "dog"}).prompts == ("dog",)
    both = one({"poodle", "beagle", "dog", "cat"})
    assert (both.verdict, both.prompts) == ("k prompts", ("dog", "cat"))
    assert both.reason == "none is above all of the task; 2 joined by OR are: 'dog', 'cat'"
    few = one({"poodle", "beagle", "dog", "cat"}, prompts=1)
    assert (few.verdict, few.violation) == ("fine-tuning", None)
    assert few.reason == "no 1 prompt or fewer say yes to all of the task alone"
    broken = one({"dog", "beagle"})
    assert broken.violation == ("poodle", "dog")
    assert broken.reason.startswith("not functorial: 'poodle' is a kind of 'dog'")


def test_of_prompts_that_say_the_same_of_labelled_objects_the_most_special_is_taken():
    hierarchy = Hierarchy.from_edges([*reversed(PETS), ("rock", "thing")])  # animal stands before dog
    known = {"poodle": 1, "beagle": 1, "rock": 0}
    (task,) = diagnose_order(hierarchy, labels_of([known.get(name) for name in hierarchy.objects])).tasks
    assert task.prompts == ("dog",)


def test_a_prompt_above_what_is_known_to_be_no_is_none():
    hierarchy = Hierarchy.from_edges([("a", "top"), ("b", "top"), ("c", "top")])
    known = {"a": 1, "b": 1, "c": 0}
    (task,) = diagnose_order(hierarchy, labels_of([known.get(name) for name in hierarchy.objects])).tasks
    assert (task.verdict, task.prompts) == ("k prompts", ("a", "b"))


def test_equivalent_objects_with_different_labels_are_solved_by_nothing():
    pairs = [*PETS, ("hound", "dog"), ("dog", "hound"), ("mutt", "hound"), ("hound", "mutt")]
    hierarchy = Hierarchy.from_edges(pairs, equivalent=True)
    yes = {"poodle", "beagle", "hound", "dog"}
    found = diagnose_order(hierarchy, labels_of([int(name in yes) for name in hierarchy.objects]))
    (task,) = found.tasks
    assert found.verdict == task.verdict == "nothing"
    assert set(task.equivalent) == {("dog", "mutt"), ("hound", "mutt")}
    assert task.equivalent_pairs == 2
    assert task.least_wrong == 1
    same = diagnose_order(hierarchy, labels_of([int(name in yes | {"mutt"}) for name in hierarchy.objects])).tasks[0]
    assert same.verdict == "one prompt"
    assert set(same.prompts) <= {"dog", "hound", "mutt"}


def test_classes_are_a_task_each_and_the_hardest_is_the_verdict():
    hierarchy = Hierarchy.from_edges(PETS)
    kinds = {"poodle": "d", "beagle": "d", "dog": "d", "cat": "c", "animal": "other"}
    found = diagnose_order(hierarchy, labels_of([kinds[name] for name in hierarchy.objects]))
    assert {task.name: task.verdict for task in found.tasks} == {
        "c": "one prompt", "d": "one prompt", "other": "fine-tuning",
    }  # fmt: skip
    assert found.verdict == "fine-tuning"


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        ([("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")], "'a' < 'b' < 'c' < 'a' is a cycle of 3. Remove an edge"),
        ([("x", "a"), ("a", "b"), ("b", "a")], "'a' < 'b' < 'a' is a cycle of 2"),
        ([("a", "a")], "'a' is its own parent"),
        ([], "expected edges of a child and a parent, got none"),
        ([("a", "")], "expected names of a child and a parent, got ''"),
    ],
)
def test_what_is_no_hierarchy_is_told(pairs, told):
    with pytest.raises(ConfigError, match="hierarchy: ") as caught:
        Hierarchy.from_edges(pairs)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_deep_and_wide_hierarchies_are_closed():
    deep = Hierarchy.from_edges((f"{at}", f"{at + 1}") for at in range(1500))
    assert deep.below.sum() == 1501 * 1502 // 2
    with pytest.raises(ConfigError, match="is a cycle of 1501"):
        Hierarchy.from_edges([*((f"{at}", f"{at + 1}") for at in range(1500)), ("1500", "0")])


def test_a_long_cycle_lists_its_first_pairs_and_counts_all():
    ring = Hierarchy.from_edges(((f"{at}", f"{(at + 1) % 900}") for at in range(900)), equivalent=True)
    (task,) = diagnose_order(ring, labels_of([at % 3 // 2 if at else None for at in range(900)])).tasks
    assert (task.verdict, task.equivalent_pairs, task.least_wrong) == ("nothing", 300 * 599, 300)
    assert len(task.equivalent) == 100


def test_many_prompts_are_found_without_a_search():
    pairs = [(f"kind {at}", f"thing {at}") for at in range(1201)]
    hierarchy = Hierarchy.from_edges(pairs)
    (task,) = diagnose_order(hierarchy, labels_of([int(not name.endswith(" 0")) for name in hierarchy.objects])).tasks
    assert (task.verdict, task.fewest, len(task.prompts)) == ("k prompts", True, 1200)
