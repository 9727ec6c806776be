"""Clues from a user's file: read whole or refused with file, image and field."""

import json

import pytest

from fmcompress.errors import ConfigError
from fmcompress.vision_language.visual_clues import Clue, ClueFile, DetectedObject, VisualClues
from fmcompress.vision_language.visual_clues.given import clues_as_dict, parse_clues, read_examples

DOG = {"name": "dog", "box": [0.1, 0.2, 0.5, 1], "attributes": ["brown", {"text": "wet", "score": 0.2}]}
PARK = {"tags": [{"text": "park", "score": 0.3}, "grass"], "captions": ["a  dog\nruns"], "objects": [DOG]}


def write(path, facts):
    path.write_text(facts if isinstance(facts, str) else json.dumps(facts))
    return path


def test_reads_all_fields(tmp_path):
    file = ClueFile(write(tmp_path / "c.json", {"a/park.png": PARK, "b": {"tags": ["x"]}}))
    dog = DetectedObject(Clue("dog"), (0.1, 0.2, 0.5, 1), (Clue("brown"), Clue("wet", 0.2)))
    expected = VisualClues((Clue("park", 0.3), Clue("grass")), (dog,), (Clue("a dog runs"),))
    assert file.names == ("a/park.png", "b")
    assert file.clues("a/park.png", (10, 10)) == expected
    assert parse_clues(json.loads(json.dumps(clues_as_dict(expected))), "x") == expected
    assert file.find("a/park.png") == "a/park.png"
    assert file.find("dir/b.jpg") == "b"
    assert file.find("park.png") is None


def test_boxes_in_pixels(tmp_path):
    entry = {"pixels": True, "objects": [{"name": "dog", "box": [10, 0, 200, 50]}]}
    file = ClueFile(write(tmp_path / "c.json", {"a": entry}))
    assert file.clues("a", (200, 100)).objects[0].box == (0.05, 0, 1, 0.5)
    with pytest.raises(ConfigError, match=r"image 'a', objects\[0\], box: .* as pixels of 199 x 100, got"):
        file.clues("a", (199, 100))


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ("{", "valid JSON"), ('{"a": {"tags": ["x"]}, "a": {"tags": ["y"]}}', "stands there twice"), ({}, "got none"),
        ([], "expected a JSON object"), ({"a": []}, "image 'a': expected a JSON object"),
        ({"a": {"tag": ["x"]}}, "image 'a': expected some of tags, captions, objects, pixels, got 'tag'"),
        ({"a": {"tags": "x"}}, "image 'a', tags: expected a list"), ({"a": {}}, "image 'a': expected tags, captions"),
        ({"a": {"tags": [""]}}, r"image 'a', tags\[0\]: expected a text"),
        ({"a": {"tags": [{"text": "x", "score": "1"}]}}, r"tags\[0\], score: expected a number"),
        ('{"a": {"tags": [{"text": "x", "score": NaN}]}}', r"tags\[0\], score: expected a number"),
        ({"a": {"tags": [{"text": "x", "score": 10**400}]}}, r"tags\[0\], score: expected a number"),
        ({"a": {"tags": [{"score": 1}]}}, r"tags\[0\]: expected 'text'"),
        ({"a": {"pixels": 1, "tags": ["x"]}}, "pixels: expected true or false"),
        ({"a": {"objects": [{"name": "x"}]}}, r"objects\[0\]: expected 'box'"),
        ({"a": {"objects": [{"name": "x", "box": [0, 0, 1]}]}}, r"objects\[0\], box: expected left, top"),
        ({"a": {"objects": [{"name": "x", "box": [0, 0, True, 1]}]}}, r"objects\[0\], box: expected left, top"),
        ({"a": {"objects": [{"name": "x", "box": [0, 0, 1, 10**400]}]}}, r"objects\[0\], box: expected left, top"),
        ({"a": {"objects": [{"name": "x", "box": [0, 0, 20, 30]}]}}, 'Add "pixels": true'),
        ({"a": {"objects": [{"name": "x", "box": [0.5, 0, 0.5, 1]}]}}, "left < right"),
        ({"a": {"pixels": True, "objects": [{"name": "x", "box": [-1, 0, 5, 1]}]}}, "as pixels, got"),
    ],
)  # fmt: skip
def test_wrong_files(tmp_path, facts, told):
    path = write(tmp_path / "clues.json", facts)
    with pytest.raises(ConfigError, match=told) as error:
        ClueFile(path)
    assert str(path) in str(error.value)


def test_examples(tmp_path):
    path = write(tmp_path / "e.json", [{"clues": {"tags": ["cat"]}, "paragraph": "A cat."}])
    assert read_examples(path) == [(VisualClues((Clue("cat"),)), "A cat.")]
    for facts, told in (
        ({}, "expected a list"), ([{"clues": {"tags": ["x"]}}], "example 0: expected 'paragraph'"),
        ([{"clues": {"tags": ["x"], "pixels": True}, "paragraph": "x"}], "an example has no image"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=told):
            read_examples(write(path, facts))
    with pytest.raises(ConfigError, match="cannot be read"):
        ClueFile(tmp_path / "none.json")
