"""Scene graphs: their form, the rules that read them from text, and the adapter for another parser."""

import json
import sys
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmcompress.errors import ConfigError
from fmcompress.vision_language.visual_clues import SceneGraph, parse_graph
from fmcompress.vision_language.visual_clues.factual_parser import FactualParser
from fmcompress.vision_language.visual_clues.rule_parser import RuleParser
from fmcompress.vision_language.visual_clues.words import lemma_of_attribute, lemma_of_object, lemma_of_relation

GRAPH = SceneGraph(("cup", "table"), (("cup", "red"),), (("cup", "on", "table"),))


def test_a_graph_is_the_same_after_json_and_has_every_tuple_once():
    assert SceneGraph.from_dict(json.loads(json.dumps(GRAPH.as_dict()))) == GRAPH
    assert SceneGraph(("cup", "cup"), (("cup", "red"),) * 2).facts == (("cup",), ("cup", "red"))


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ([], "expected an object with objects"),
        ({}, "expected an object with objects"),
        ({"things": []}, "got \\['things'\\]"),
        ({"objects": "cup"}, "expected a list of objects"),
        ({"objects": [1]}, "objects of a scene graph: expected a name"),
        ({"objects": [" "]}, "expected a name"),
        ({"objects": ["cup"], "attributes": [["cup"]]}, "expected \\[object, attribute\\]"),
        ({"objects": ["cup"], "attributes": ["ab"]}, "expected \\[object, attribute\\]"),
        ({"objects": ["cup"], "attributes": [["mug", "red"]]}, "'mug' is no object"),
        ({"objects": ["cup"], "relations": [["cup", "on", "table"]]}, "'table' is no object"),
    ],
)
def test_other_values_are_refused_by_name(value, told):
    with pytest.raises(ConfigError, match=f"^gold.json, 1: .*{told}"):
        SceneGraph.from_dict(value, "gold.json, 1")


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("", ""),
        ("is of the and", ""),
        ("A photo of a tabby cat with green eyes.", "cat; eye; cat tabby; eye green; cat with eye"),
        ("The red cups are on a wooden table.", "cup; table; cup red; table wooden; cup on table"),
        ("The cup and the saucer are on a table.", "cup; saucer; table; cup on table; saucer on table"),
        (
            "A cup is on a saucer, a tray and a table.",
            "cup; saucer; tray; table; cup on saucer; cup on tray; cup on table",
        ),
        ("The stones are small, grey and angular.", "stone; stone small; stone grey; stone angular"),
        ("A woman holds a helmet. She smiles.", "woman; helmet; woman smile; woman hold helmet"),
        ("A smiling woman", "woman; woman smiling"),
        ("Behind the man is a flag.", "man; flag; flag behind man"),
        ("On the table stands a cup.", "table; cup; cup stand_on table"),
        (
            "A man looks at a camera which stands on a tripod.",
            "man; camera; tripod; man look_at camera; camera stand_on tripod",
        ),
        ("The woman's suit is orange.", "woman; suit; suit orange; woman have suit"),
        ("There are no people. The sky is not blue. A dog without a tail runs.", "sky; dog; dog run"),
        ("A cat sits on a mat and a dog runs.", "cat; mat; dog; dog run; cat sit_on mat"),
        ("A space shuttle in front of a wall", "space_shuttle; wall; space_shuttle in_front_of wall"),
        ("There is a red cup in the upper left of the image.", "cup; cup red"),
        ("Two men are next to leaves.", "man; leaf; man next_to leaf"),
        ("A cup of coffee", "cup; coffee; cup of coffee"),
        ("Is it a very old, rusty car?", "car; car old; car rusty"),
    ],
)
def test_the_rules_read_simple_sentences(text, facts):
    found = {tuple(word.replace("_", " ") for word in fact.split()) for fact in facts.split("; ") if fact}
    assert set(parse_graph(text).facts) == found


def test_words_that_a_user_knows_better_are_taken_as_told():
    assert parse_graph("A frumious beast").objects == ("beast",)
    assert parse_graph("A chequered flag").facts == (("flag",), ("flag", "chequered"))
    assert parse_graph("A zorp flag").objects == ("zorp flag",)
    assert RuleParser(adjectives=["zorp"]).parse("A zorp flag").facts == (("flag",), ("flag", "zorp"))
    assert RuleParser(nouns=["orange"]).parse("An orange peel").objects == ("orange peel",)


@given(
    st.lists(
        st.sampled_from(
            [
                "a",
                "the",
                "cat",
                "cup",
                "red",
                "is",
                "are",
                "on",
                "with",
                "and",
                ",",
                "of",
                "no",
                "'s",
                "which",
                "it",
                "holds",
                "standing",
                ".",
                "it;",
                "not",
            ]
        )
    )
)
def test_any_words_in_any_order_give_a_graph(words):
    graph = parse_graph(" ".join(words))
    assert SceneGraph.from_dict(graph.as_dict()) == graph


@given(st.text(max_size=80))
def test_any_text_gives_a_graph(text):
    assert isinstance(parse_graph(text), SceneGraph)


@pytest.mark.parametrize(
    ("lemma", "word", "base"),
    [
        (lemma_of_object, "Space  Shuttles", "space shuttle"),
        (lemma_of_object, "women", "woman"),
        (lemma_of_object, "glasses", "glasses"),
        (lemma_of_object, "boxes", "box"),
        (lemma_of_object, "berries", "berry"),
        (lemma_of_object, "grass", "grass"),
        (lemma_of_attribute, "Smiling", "smile"),
        (lemma_of_attribute, "standing", "stand"),
        (lemma_of_relation, "is standing on", "stand on"),
        (lemma_of_relation, "sat on", "sit on"),
        (lemma_of_relation, "running to", "run to"),
        (lemma_of_relation, "carries", "carry"),
        (lemma_of_relation, "is", "is"),
    ],
)
def test_base_forms(lemma, word, base):
    assert lemma(word) == base
    assert lemma(base) == base


def test_another_parser_is_used_and_the_missing_package_is_told(monkeypatch):
    class Fixed:
        def parse(self, text):
            return GRAPH

    assert parse_graph("anything", Fixed()) == GRAPH
    monkeypatch.setitem(sys.modules, "factual_scene_graph", None)
    with pytest.raises(ConfigError, match="FactualSceneGraph is not installed"):
        FactualParser()


def test_the_factual_parser_is_asked_by_sentence_and_its_graphs_are_merged(monkeypatch):
    asked = []

    class StandIn:  # answers in the form that the package's source has
        def __init__(self, checkpoint, device):
            asked.append((checkpoint, device))

        def parse(self, texts):
            asked.append(texts)
            cup = {"head": "cup", "quantity": "", "attributes": {"red", "big"}}
            table = {"head": "table", "quantity": "2", "attributes": set()}
            return [{"entities": [cup, table], "relations": [{"subject": 0, "relation": "on", "object": 1}]}] * len(
                texts
            )

    module = ModuleType("scene_graph_parser")
    module.SceneGraphParser = StandIn
    for name in ("factual_scene_graph", "factual_scene_graph.parser", "factual_scene_graph.parser.scene_graph_parser"):
        monkeypatch.setitem(sys.modules, name, module)
    graph = FactualParser("here", "cpu").parse("A cup. Two tables.")
    assert asked == [("here", "cpu"), ["A cup.", "Two tables."]]
    assert graph == SceneGraph(("cup", "table"), (("cup", "big"), ("cup", "red")), (("cup", "on", "table"),))
    assert FactualParser("here", "cpu").parse(" ") == SceneGraph()
