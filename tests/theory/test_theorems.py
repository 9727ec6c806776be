"""The theorems on random categories, and the example of rotations with every outcome that is known."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from theory_cases import UNHURRIED, categories, cyclic, with_presheaf

from fmcompress.errors import TheoryError
from fmcompress.theory import (
    Functor,
    NaturalTransformation,
    SetFunctor,
    angle_task,
    check_fine_tuning,
    check_prompt_tuning,
    check_structure_transfer,
    constant,
    coproduct,
    from_poset,
    full_subcategory,
    identity_functor,
    inclusion,
    is_representable,
    left_kan_extension,
    product,
    prompts_needed,
    rotated_images,
    rotations,
    side_by_side,
    to_point,
    yoneda,
)
from fmcompress.theory.rotation import outcomes

ANIMALS = from_poset([("poodle", "dog"), ("dog", "animal"), ("cat", "animal")])


@UNHURRIED
@given(with_presheaf())
def test_prompt_tuning_solves_exactly_what_is_representable(task):
    found = check_prompt_tuning(task)
    assert found, str(found)
    assert found.solved == bool(found.verdict) == bool(is_representable(task))


@UNHURRIED
@given(with_presheaf(25))
def test_fine_tuning_solves_every_task(task):
    for kind in (task, task.covariant()):
        found = check_fine_tuning(kind)
        assert found, str(found)
        assert {one: [*images] for one, images in found.isomorphism.items()} == {
            one: [*task.at(one)] for one in task.category.objects
        }


@UNHURRIED
@given(st.data())
def test_structure_transfers_along_full_embeddings_and_chains_of_them(data):
    category = data.draw(categories(20))
    assume(category.objects)
    part = full_subcategory(category, data.draw(st.sets(st.sampled_from(category.objects), min_size=1)))
    whole = coproduct(category, cyclic(2))
    first = inclusion(part, category)
    second = Functor(category, whole, {o: (0, o) for o in category.objects}, {m: (0, m) for m in category.morphisms})
    for chain in ((first,), (second,), (first, second)):
        found = check_structure_transfer(*chain)
        assert found, str(found)
    assert all(whole.isomorphic(image, (0, one)) for one, image in found.images.items())


def test_what_was_found_is_said_in_a_sentence():
    assert str(check_prompt_tuning(yoneda(ANIMALS, "dog"))) == (
        "The prompt 'dog' solves the task: the universal element is ('dog', 'dog')."
    )
    found = check_prompt_tuning(constant(rotated_images("a"), ["label"]))
    assert str(found) == (
        "The prompt ('a', 0) solves the task, as do 3 prompts isomorphic to it: the universal element is 'label'."
    )
    assert found.prompts == tuple(("a", turn) for turn in range(4))
    found = check_prompt_tuning(side_by_side(yoneda(ANIMALS, "dog"), yoneda(ANIMALS, "cat")))
    assert found
    assert not found.solved
    assert str(found).startswith("No prompt solves the task, which is not representable: prompt 'poodle' has 0 answers")
    assert [failure.prompt for failure in found.verdict.failures] == list(ANIMALS.objects)
    assert str(check_fine_tuning(yoneda(ANIMALS, "dog"))) == (
        "Fine-tuning solves the task: a function of the features gives 2 answers on 4 objects, up to isomorphism."
    )
    part = full_subcategory(ANIMALS, ["poodle", "animal"])
    found = check_structure_transfer(inclusion(part, ANIMALS))
    assert found.images == {"poodle": "poodle", "animal": "animal"}
    assert str(found) == (
        "The structure transfers: the 3 morphisms are those between the features, and 2 objects are read from theirs."
    )


def test_a_chain_is_one_extension():
    part = full_subcategory(ANIMALS, ["poodle", "dog"])
    small = full_subcategory(ANIMALS, ["poodle"])
    first, second = inclusion(small, part), inclusion(part, ANIMALS)
    assert check_structure_transfer(first, second).images == check_structure_transfer(second.after(first)).images


def test_what_is_no_embedding_is_refused():
    with pytest.raises(TheoryError, match="one that is not full: '\\*' is the image of no morphism"):
        check_structure_transfer(to_point(ANIMALS))
    with pytest.raises(TheoryError, match="one that is not faithful: 0 and 1 have one image"):
        check_structure_transfer(to_point(cyclic(2)))
    with pytest.raises(TheoryError, match="does not start where the other ends"):
        check_structure_transfer(identity_functor(ANIMALS), identity_functor(cyclic(2)))


@pytest.mark.parametrize(
    ("name", "told"),
    [("find_isomorphism", "Trying all prompts found 0"), ("natural_transformations", "does not transfer")],
)
def test_a_check_fails_when_one_side_is_wrong(monkeypatch, name, told):
    from fmcompress.theory import theorems

    monkeypatch.setattr(theorems, name, lambda *_: [])
    found = (
        check_prompt_tuning(yoneda(ANIMALS, "dog"))
        if "find" in name
        else check_structure_transfer(identity_functor(ANIMALS))
    )
    assert not found
    assert told in str(found)


def test_as_many_transformations_are_not_the_same_ones(monkeypatch):
    from fmcompress.theory import theorems

    def wrong(source, target):
        return [NaturalTransformation.of_arrays(source, target, (np.full(2, one),)) for one in range(2)]

    monkeypatch.setattr(theorems, "natural_transformations", wrong)
    found = check_structure_transfer(identity_functor(cyclic(2)))
    assert str(found).endswith("2 morphisms from '*' to '*' and 2 transformations of their features.")


def test_fine_tuning_fails_with_a_wrong_extension(monkeypatch):
    from fmcompress.theory import extension

    task, true = constant(cyclic(2), "ab").covariant(), extension.unit_numbers
    monkeypatch.setattr(extension, "unit_numbers", lambda coend, one: 0 * true(coend, one))
    assert "does not give back T at '*': 2 elements there, 2 of T" in str(check_fine_tuning(task))
    monkeypatch.undo()
    turned = SetFunctor(cyclic(2), {"*": "ab"}, lambda f, x: x if f == 0 else "ba"["ab".index(x)])
    monkeypatch.setattr(extension, "unit_numbers", lambda coend, one: np.arange(len(coend)))
    monkeypatch.setattr(extension.Coend, "map", lambda coend, *_: np.arange(len(coend)))
    assert "does not act like T at 1" in str(check_fine_tuning(turned))


@pytest.mark.parametrize("images", ["a", "ab", "abc"])
def test_the_label_of_rotated_images_needs_a_prompt_for_each(images):
    category = rotated_images(images)
    task = constant(category, ["label"])
    verdict = is_representable(task)
    assert bool(verdict) == (len(images) == 1)
    assert verdict.prompt == (("a", 0) if verdict else None)
    found = prompts_needed(task)
    assert found.prompts == tuple(((image, 0), "label") for image in images)
    assert found.exact
    assert all(len(category.hom((image, 0), (image, 3))) == 1 for image in images)
    assert check_fine_tuning(task)


def test_segmentation_of_rotated_images_is_no_prompt():
    task = constant(rotated_images("ab"), ["mask 1", "mask 2"])
    assert not is_representable(task)
    assert prompts_needed(task).count == 4
    assert len(is_representable(task).failures) == 8  # a reason for each copy
    assert check_fine_tuning(task)


def test_copies_as_objects_or_as_automorphisms_give_other_answers():
    objects, automorphisms = rotated_images("a"), rotations()
    assert len(objects.morphisms) == 16
    assert automorphisms.hom("*", "*") == (0, 1, 2, 3)
    assert is_representable(constant(objects, ["label"]))
    assert not is_representable(constant(automorphisms, ["label"]))
    assert not is_representable(angle_task(objects))
    found = is_representable(angle_task(automorphisms))
    assert (found.prompt, found.element) == ("*", 0)
    assert not prompts_needed(constant(automorphisms, ["label"])).exact


def test_every_outcome_is_told():
    found = {one.title: (bool(one.one_prompt), one.prompts.count, bool(one.fine_tuning)) for one in outcomes()}
    assert found == {
        "label of 1 rotated image": (True, 1, True),
        "label of 2 rotated images": (False, 2, True),
        "label of 3 rotated images": (False, 3, True),
        "one of two masks on 2 rotated images": (False, 4, True),
        "one of 4 angles on 1 rotated image": (False, 4, True),
        "label of a symmetric image, one object": (False, 1, True),
        "angle of a symmetric image, one object": (True, 1, True),
    }


def test_features_of_an_object_that_no_pair_showed_are_decoded():
    """F is known on objects; its extension takes the features of any object, under whatever names they come."""
    whole = product(ANIMALS, cyclic(2))
    part = full_subcategory(whole, [("poodle", "*"), ("dog", "*")])
    functor = inclusion(part, whole)
    features = side_by_side(yoneda(part, ("dog", "*")))  # all names changed
    decoded = is_representable(left_kan_extension(features, functor).functor)
    assert decoded.prompt == ("dog", "*")
