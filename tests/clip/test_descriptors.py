"""Descriptors: the shipped files, the sentences that they become, names, and what a language model answers."""

import json

import pytest

from fmcompress.clip.ask_descriptors import ask_for_descriptors, parse_descriptors
from fmcompress.clip.descriptors import clause, describe, match_classes, read_descriptors, texts_of
from fmcompress.errors import ConfigError, LanguageModelError
from fmcompress.language_model import ScriptedLanguageModel, TransformersLanguageModel

COUNTS = {  # of each shipped file: classes, descriptors, classes without any, those that the released grammar mistakes
    "imagenet": (1000, 5800, 0, 42), "places365": (365, 2108, 1, 32), "cub": (200, 1312, 0, 3),
    "food101": (101, 499, 5, 7), "dtd": (47, 193, 0, 2), "pets": (37, 246, 0, 1), "eurosat": (10, 25, 0, 0),
    "cars": (196, 1531, 13, 51), "flowers102": (102, 626, 0, 1), "fgvcaircraft": (70, 499, 1, 1),
}  # fmt: skip
WORDS = {"a", "an", "has", "often", "typically", "may", "can", "used"}


def collides(descriptor):
    """Whether it begins with one of the words, but its first word is none of them."""
    first = "".join(c if c.isalnum() or c == "_" else " " for c in descriptor).split(" ")[0]
    return descriptor.startswith(tuple(WORDS)) and first not in WORDS


@pytest.fixture(scope="module")
def shipped(shared_data):
    folder = shared_data / "clip-descriptors"
    return {name: read_descriptors(folder / f"descriptors_{name}.json") for name in COUNTS}


@pytest.mark.parametrize("name", COUNTS)
def test_shipped_files(shipped, name):
    found = shipped[name]
    every = [one for some in found.values() for one in some]
    empty = sum(not some for some in found.values())
    assert (len(found), len(every), empty, sum(map(collides, every))) == COUNTS[name]


def test_87_descriptors_of_the_papers_files_collide_by_prefix(shipped):
    papers = ("imagenet", "places365", "cub", "food101", "dtd", "pets", "eurosat")
    found = [one for name in papers for some in shipped[name].values() for one in some if collides(one)]
    assert len(found) == 87
    assert all(clause(one, "released").startswith(("which is", "which ")) for one in found)
    assert not any(clause(one, "released").startswith("which has") for one in found)
    read_well = {one for one in found if clause(one) == clause(one, "released")}
    assert {one.split()[0] for one in read_well} == {"attached", "available", "alternating"}
    others = [one for one in found if one not in read_well and not one.startswith("attaches")]
    assert [clause(one) for one in others] == [f"which has {one}" for one in others]
    same = [o for name in papers for some in shipped[name].values() for o in some if not collides(o)]
    assert [o for o in same if clause(o) != clause(o, "released")] == []  # all others are as released


@pytest.mark.parametrize(
    ("descriptor", "released", "fixed"),
    [
        ("a red comb", "which is a red comb", None),
        ("an airport", "which is an airport", None),
        ("has two wings", "which has two wings", None),
        ("often perches", "which often perches", None),
        ("often, a cap or lid", "which often, a cap or lid", None),
        ("may be striped", "which may be striped", None),
        ("can be found in clusters", "which can be found in clusters", None),
        ("typically green", "which typically green", None),
        ("used for frying", "which is used for frying", None),
        ("black feet", "which has black feet", None),
        ("avocado", "which is avocado", "which has avocado"),
        ("mayonnaise", "which mayonnaise", "which has mayonnaise"),
        ("candied fruit", "which candied fruit", "which has candied fruit"),
        ("are dark grey and the underparts are white", "which is are dark grey and the underparts are white",
         "which has are dark grey and the underparts are white"),
        ("alternating light and dark bands", "which is alternating light and dark bands", None),
        ("attaches to a lens", "which is attaches to a lens", "which attaches to a lens"),
        ("angular grille ", "which is angular grille ", "which has angular grille"),
        ("A dark bar", "which has A dark bar", "which is A dark bar"),
        ("", "which has ", "which has "),
    ],
)  # fmt: skip
def test_golden_clauses(descriptor, released, fixed):
    assert clause(descriptor, "released") == released
    assert clause(descriptor) == (released if fixed is None else fixed)


def test_golden_texts(shipped):
    def released(name, which, template="{cls}, {clause}"):
        return [text for _, text in texts_of(shipped[name], template, "released", "name")[which]]

    assert released("food101", "guacamole")[0].startswith("guacamole, which ")
    assert released("food101", "mussels") == ["mussels, which has "]
    assert released("places365", "corn_field") == ["corn field, which has "]
    assert released("eurosat", "annual crop land", "{cls}, {clause}.")[0] == (
        "annual crop land, which has large, open fields."
    )
    assert describe("{clause}", "a {cls}", "A photo of {cls}: {clause}!") == "A photo of {clause}: which is a {cls}!"


def test_classes_without_descriptors(shipped):
    with pytest.raises(
        ConfigError, match="5 of 101 classes have none: donuts, french fries, fried calamari, mussels, oysters"
    ):
        texts_of(shipped["food101"])
    assert texts_of(shipped["food101"], empty="name")["french fries"] == [(None, "french fries")]
    with pytest.raises(ConfigError, match=r"2 of 2 classes have none: a, b"):
        texts_of({"a": [" "], "b": []})
    for wrong in ({"empty": "skip"}, {"grammar": "x"}, {"template": "{cls}"}, {"template": "{clause}"}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            texts_of({"a": ["x"]}, **wrong)


def test_classes_are_matched_by_name():
    given = {"hen": ["x"], "corn_field": ["y"], "Owl": ["z"], "owl": ["w"]}
    assert match_classes(given, ["owl", "corn field", "HEN"]) == {"owl": ["w"], "corn field": ["y"], "HEN": ["x"]}
    with pytest.raises(
        ConfigError, match=r"2 of 3 classes are not among them: 'henn' \(near: 'hen'\), 'OWL' ?.*Add them"
    ):
        match_classes(given, ["henn", "hen", "OWL"])


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"a": "x"}', '{"a": [1]}', '{"a": ["x"], "a": ["y"]}', '{"a": {"b": []}}', "{"],
)  # fmt: skip
def test_files_that_are_none(tmp_path, text):
    (tmp_path / "d.json").write_text(text)
    with pytest.raises(ConfigError, match=r"d\.json: "):
        read_descriptors(tmp_path / "d.json")
    with pytest.raises(ConfigError, match="No such file"):
        read_descriptors(tmp_path / "none.json")


ANSWER = "- black feet.\n* a long, hooked bill\nSure, here are some:\n- black feet\n- 42\n-no space\n- " + "long " * 21


def test_what_of_an_answer_is_kept():
    kept, rubbish = parse_descriptors(ANSWER)
    assert kept == ["black feet", "a long, hooked bill"]
    assert len(rubbish) == 5


def test_a_language_model_is_asked_once_for_each_class(tmp_path):
    path = tmp_path / "d.json"
    path.write_text('{"owl": ["a round face"]}')
    model = ScriptedLanguageModel(lambda prompt: ANSWER)
    asked = ask_for_descriptors(model, ["corn_field", "owl", "hen"], path)
    assert asked.descriptors["owl"] == ["a round face"]
    assert list(asked.descriptors) == ["corn_field", "owl", "hen"]
    assert [prompt.splitlines()[-1] for prompt in model.calls[0].texts] == ["Thing: corn field", "Thing: hen"]
    assert {name: len(lines) for name, lines in asked.refused.items()} == {"corn_field": 5, "hen": 5}
    assert json.loads(path.read_text()) == {**asked.descriptors}
    ask_for_descriptors(model, ["corn_field", "owl", "hen"], path)
    assert len(model.calls) == 1


def test_answers_without_descriptors_are_refused_and_the_others_kept(tmp_path):
    path = tmp_path / "d.json"
    model = ScriptedLanguageModel(
        lambda prompt: "- wings\n" if "Thing: owl" in prompt else "I am a model.\nI know nothing."
    )
    with pytest.raises(
        LanguageModelError, match=r"for 2 of 3 classes: hen, cow\. It said: \"I am a model\.\""
    ) as error:
        ask_for_descriptors(model, ["hen", "owl", "cow"], path)
    assert "\n" not in str(error.value)
    assert json.loads(path.read_text()) == {"owl": ["wings"]}


def test_a_model_that_writes_rubbish_is_refused(demo_model):
    """A real model that knows code, not birds, continues the list or not: each line is kept or told, none is lost."""
    model = TransformersLanguageModel(demo_model, device="cpu")
    try:
        asked = ask_for_descriptors(model, ["hen", "owl"])
    except LanguageModelError as error:
        assert "classes" in str(error)
    else:
        assert all(asked.descriptors.values())
