"""SPIPE: its identities, its matching against every possible one, and the command."""

import itertools
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from fmcompress.cli import app
from fmcompress.errors import ConfigError
from fmcompress.vision_language.visual_clues import SceneGraph, spipe
from fmcompress.vision_language.visual_clues.graph_files import read_graphs, visual_genome
from fmcompress.vision_language.visual_clues.spipe import _matching, facts_of

GOLD = SceneGraph(("cup", "table", "spoon"), (("cup", "red"),), (("cup", "on", "table"),))
NAMES, WORDS = ("cat", "cats", "dog", "cup", "mug"), ("red", "old", "smiling")


@st.composite
def graphs(draw):
    objects = draw(st.lists(st.sampled_from(NAMES), max_size=4))
    if not objects:
        return SceneGraph()
    own = st.sampled_from(objects)
    attributes = draw(st.lists(st.tuples(own, st.sampled_from(WORDS)), max_size=3))
    relations = draw(st.lists(st.tuples(own, st.sampled_from(("on", "sits on", "sat on")), own), max_size=3))
    return SceneGraph(tuple(objects), tuple(attributes), tuple(relations))


def test_the_figures_of_a_graph_worked_by_hand():
    found = spipe(SceneGraph(("cups", "table", "dog"), (("cups", "red"),)), GOLD)
    assert (found.precision, found.recall) == (3 / 4, 3 / 5)
    assert found.f1 == pytest.approx(2 * 0.75 * 0.6 / 1.35)
    assert found.extra == (("dog",),)
    assert found.missed == (("spoon",), ("cup", "on", "table"))
    assert found.matched == ((("cup",),) * 2, (("table",),) * 2, (("cup", "red"),) * 2)


def test_all_words_match_in_their_base_forms():
    told = SceneGraph(("Women", "chair"), (("Women", "smiling"),), (("Women", "is sitting on", "chair"),))
    gold = SceneGraph(("woman", "chair"), (("woman", "smiles"),), (("woman", "sat on", "chair"),))
    assert spipe(told, gold).f1 == 1


@given(graphs(), graphs())
def test_f1_is_1_for_the_same_tuples_and_no_others_and_swapping_swaps(one, other):
    there, back = spipe(one, other), spipe(other, one)
    assert (there.f1 == 1) == (set(facts_of(one)) == set(facts_of(other)))
    assert (there.precision, there.recall, there.f1) == (back.recall, back.precision, back.f1)
    assert 0 <= there.f1 <= 1
    assert len(there.matched) + len(there.extra) == len(facts_of(one))
    assert len(there.matched) + len(there.missed) == len(facts_of(other))


@given(graphs(), graphs(), st.randoms(use_true_random=False))
def test_order_means_nothing(one, other, random):
    def shuffled(some):
        return tuple(random.sample(some, len(some)))

    turned = SceneGraph(shuffled(one.objects), shuffled(one.attributes), shuffled(one.relations))
    a, b = (spipe(graph, other, [["cup", "mug"], ["mug", "cat"]]) for graph in (one, turned))
    assert (a.precision, a.recall, a.f1) == (b.precision, b.recall, b.f1)


@given(graphs())
def test_a_hallucinated_object_lowers_precision_alone(graph):
    more = replace(graph, objects=(*graph.objects, "zebra"))
    before, after = spipe(graph, GOLD), spipe(more, GOLD)
    assert after.recall == before.recall
    assert after.precision < before.precision or before.precision == 0
    assert ("zebra",) in after.extra


def test_nothing_told_is_0_and_nothing_of_nothing_is_1():
    assert spipe(SceneGraph(), GOLD).as_dict() | {"missed": 0} == {
        "precision": 0.0, "recall": 0.0, "f1": 0.0, "matched": [], "missed": 0, "extra": [],
    }  # fmt: skip
    assert spipe(SceneGraph(), SceneGraph()).f1 == 1


@pytest.mark.parametrize("synonyms", [[["cup", "mug"], ["on", "standing on"]], {"mug": ["cup"], "on": {"stands on"}}])
def test_synonyms_in_either_form_match_any_word(synonyms):
    graph = SceneGraph(("mugs", "table"), (("mugs", "red"),), (("mugs", "stand on", "table"),))
    assert spipe(graph, GOLD).f1 == pytest.approx(2 / 9)
    found = spipe(graph, GOLD, synonyms)
    assert (found.precision, found.recall) == (1, 0.8)


def test_synonyms_of_a_word_are_none_of_each_other_and_matching_is_one_to_one():
    synonyms = {"bank": ["shore"], "bench": ["bank"]}
    assert spipe(SceneGraph(("shore",)), SceneGraph(("bench",)), synonyms).f1 == 0
    two = spipe(SceneGraph(("shore", "bench")), SceneGraph(("bank",)), synonyms)
    assert (two.precision, two.recall) == (0.5, 1)
    moved = spipe(SceneGraph(("bank", "bench")), SceneGraph(("bank", "shore")), synonyms)
    assert moved.f1 == 1  # the first must leave its twin to the second


@pytest.mark.parametrize("synonyms", ["cup", [["cup", 1]], ["cup"], {"cup": "mug"}, [[]], 3])
def test_other_synonyms_are_refused(synonyms):
    with pytest.raises(ConfigError, match="synonyms: expected lists of words"):
        spipe(GOLD, GOLD, synonyms)


@given(st.lists(st.lists(st.integers(0, 4), max_size=4, unique=True), max_size=5))
def test_the_matching_is_as_large_as_any(matches):
    found = _matching(matches)
    assert len(set(found.values())) == len(found)
    assert all(place in matches[fact] for place, fact in found.items())
    choices = itertools.product(*[[None, *some] for some in matches])
    best = max(
        len(taken) for choice in choices if len(set(taken := [c for c in choice if c is not None])) == len(taken)
    )
    assert len(found) == best


VG = [
    {
        "image_id": 7,
        "objects": [
            {"object_id": 1, "names": ["clock", "watch"], "attributes": ["green", "tall "], "x": 1},
            {"object_id": 2, "names": ["street"]},
        ],
        "relationships": [{"predicate": "ON", "subject_id": 1, "object_id": 2, "relationship_id": 5}],
    }
]


def test_visual_genomes_form_is_read():
    graph = visual_genome(VG)["7"]
    assert graph.facts == (("clock",), ("street",), ("clock", "green"), ("clock", "tall"), ("clock", "ON", "street"))
    assert spipe(SceneGraph(("clock", "street"), (), (("clock", "on", "street"),)), graph).recall == 3 / 5


def test_damaged_visual_genome_is_told_with_the_image():
    for change in ({"subject_id": 9}, {"predicate": 3}):
        wrong = [{**VG[0], "relationships": [{**VG[0]["relationships"][0], **change}]}]
        with pytest.raises(ConfigError, match="image_id 7: expected objects with object_id"):
            visual_genome(wrong)
    with pytest.raises(ConfigError, match="image 0: expected"):
        visual_genome([{}])
    with pytest.raises(ConfigError, match="image_id 7: stands there twice"):
        visual_genome(VG * 2)
    with pytest.raises(ConfigError, match="expected"):
        visual_genome([{**VG[0], "objects": [{"object_id": 1, "names": []}]}])


def command(tmp_path, predicted, gold, *more):
    for name, value in (("p", predicted), ("g", gold)):
        (tmp_path / f"{name}.json").write_text(value if isinstance(value, str) else json.dumps(value))
    return CliRunner().invoke(app, ["spipe", str(tmp_path / "p.json"), str(tmp_path / "g.json"), *more])


def test_the_command_measures_each_image_and_tells_of_those_in_one_file(tmp_path):
    predicted = {"x/a.png": "A red mug is on a table.", "x/b.png": {"paragraph": "A cat."}, "c.png": GOLD.as_dict()}
    gold = {"a.png": GOLD.as_dict(), "b.png": {"objects": ["dog"]}, "d.png": {"objects": ["dog"]}}
    (tmp_path / "s.json").write_text('[["cup", "mug"]]')
    found = command(tmp_path, predicted, gold, "--synonyms", str(tmp_path / "s.json"), "--json")
    told = json.loads(found.stdout)
    assert told["images"]["a.png"]["f1"] == pytest.approx(2 * 0.8 / 1.8)
    assert told["mean"] == pytest.approx({"precision": 0.5, "recall": 0.4, "f1": 0.8 / 1.8})
    assert [note.split(": ")[1] for note in told["notes"]] == ["c.png", "d.png"]
    table = command(tmp_path, predicted, gold).stdout
    assert "mean of 2" in table
    assert "a.png" in table


@pytest.mark.parametrize(
    ("predicted", "gold", "told"),
    [
        ({"a": "A cat."}, {"b": {"objects": ["cat"]}}, "expected some that both files have"),
        ({"a": "A cat."}, {"a": "A cat."}, "g.json, a: expected an object with objects"),
        ({"a": 3}, {"a": {"objects": ["cat"]}}, "p.json, a: expected"),
        ("{", {"a": {"objects": ["cat"]}}, "p.json: expected a JSON file"),
        ('{"a": "b", "a": "c"}', {"a": {"objects": ["cat"]}}, "a name twice"),
        ({}, {"a": {"objects": ["cat"]}}, "got an empty object"),
    ],
)
def test_other_files_are_refused_in_a_line(tmp_path, predicted, gold, told):
    found = command(tmp_path, predicted, gold)
    assert isinstance(found.exception, ConfigError)
    assert told in str(found.exception)


def test_what_caption_writes_is_read(tmp_path):
    predicted = {"descriptions": [{"image": "a.png", "paragraph": "A red cup.", "chosen": 3}], "notes": []}
    found = command(tmp_path, predicted, {"a.png": GOLD.as_dict()}, "--json")
    assert json.loads(found.stdout)["images"]["a.png"]["precision"] == 1
    wrong = command(tmp_path, {"descriptions": [{"image": "a.png"}]}, {"a.png": GOLD.as_dict()})
    assert "expected descriptions with image and paragraph" in str(wrong.exception)
    twice = command(tmp_path, {"descriptions": predicted["descriptions"] * 2}, {"a.png": GOLD.as_dict()})
    assert "an image is described twice" in str(twice.exception)


def test_names_of_strangers_move_no_cursor(tmp_path):
    found = command(tmp_path, {"a": "A cat.", "b\x1b[2J \ud800": "A dog."}, {"a": GOLD.as_dict()})
    assert found.exit_code == 0
    assert "\x1b" not in found.output
    assert r"b\x1b[2J \ud800" in found.output.replace("\n", "")


def test_a_list_is_read_as_visual_genomes(tmp_path):
    (tmp_path / "vg.json").write_text(json.dumps(VG))
    assert list(read_graphs(tmp_path / "vg.json")) == ["7"]
