"""Tags by retrieval, attributes of crops, and all clues of an image from the sources at hand."""

import numpy as np
import pytest
from clue_cases import NAMES, ColourEncoder, picture

from fmcompress.errors import ConfigError
from fmcompress.vision_language.visual_clues import (
    Clue,
    DetectedObject,
    Extractor,
    VisualClues,
    Vocabulary,
    retrieve_tags,
)  # fmt: skip
from fmcompress.vision_language.visual_clues.tags import crop, tag_objects

COLOURS = Vocabulary(NAMES, np.eye(3))
RED_LEFT = DetectedObject(Clue("thing"), (0, 0, 0.5, 1))
BLUE_RIGHT = DetectedObject(Clue("thing"), (0.5, 0, 1, 1))


def test_tags_come_by_falling_score():
    vectors = np.array([[1, 0], [0, 1], [0.8, 0.6], [1, 0]])
    found = retrieve_tags(np.array([2, 0]), vectors, "abcd", 4)
    assert [clue.text for clue in found] == ["a", "d", "c", "b"]  # of equal ones the first
    assert [clue.score for clue in found] == pytest.approx([1, 1, 0.8, 0])
    assert retrieve_tags(np.array([1, 0]), vectors, "abcd", 9) == found
    assert retrieve_tags(np.array([1, 0]), vectors, "abcd", 3) == found[:3]
    assert retrieve_tags(np.array([1, 0]), vectors, "abcd", 4, 0.5) == found[:3]
    words = [str(number) for number in range(60)]
    same = retrieve_tags(np.ones(2), np.ones((60, 2)), words, 60)
    assert [clue.text for clue in same] == words
    assert retrieve_tags(np.array([-1, 0]), vectors, "abcd", 4, 0.5) == ()


def test_wrong_input():
    for args, told in (
        ((np.eye(3)[0], np.eye(3), NAMES, 0), "k: expected at least 1"),
        ((np.eye(3)[0], np.eye(3), ("red",)), "names: expected 3"),
        ((np.eye(2)[0], np.eye(3), NAMES), "vocabulary: expected 2 columns"),
    ):
        with pytest.raises(ConfigError, match=told):
            retrieve_tags(*args)
    with pytest.raises(ConfigError, match="a row for each of 3 words, got 2"):
        Vocabulary(NAMES, np.eye(3)[:2])
    with pytest.raises(ConfigError, match="crops: expected 1 rows"):
        tag_objects([RED_LEFT], np.eye(3), COLOURS)
    with pytest.raises(ConfigError, match="vocabulary and a detector"):
        Extractor(vocabulary=COLOURS, name_objects=True)
    with pytest.raises(ConfigError, match="need a captioner"):
        Extractor(captioned_objects=1)


def test_a_vocabulary_of_a_file(tmp_path):
    (tmp_path / "words.txt").write_text("red\n\nblue\n")
    asked = []

    def encode(texts):
        asked.extend(texts)
        return ColourEncoder().encode_text(texts)

    found = Vocabulary.embedded(tmp_path / "words.txt", encode)
    assert found.names == ("red", "blue")
    assert asked == ["a photo of a red.", "a photo of a blue."]
    assert retrieve_tags([0, 0, 1.0], found.vectors, found.names, 1)[0].text == "blue"


@pytest.mark.parametrize(
    ("box", "size"), [((0, 0, 0.5, 1), (20, 20)), ((1, 1, 1, 1), (1, 1)), ((0.5, 0.5, 0.51, 0.51), (1, 1))]
)
def test_a_crop_has_a_pixel_at_least(box, size):
    assert crop(picture(), box).size == size


def test_all_sources_of_an_image():
    class Detector:
        takes_words, folder = True, "d"

        def detect(self, image, words):
            self.words = words
            return (BLUE_RIGHT,)

    class Captioner:
        def captions(self, images):
            return [f"{image.width} pixels wide" for image in images]

    detector, encoder = Detector(), ColourEncoder()
    whole = Extractor(COLOURS, COLOURS, detector, Captioner(), tags=2, attributes_each=1, captioned_objects=1)
    given = VisualClues((Clue("RED"), Clue("night")), (RED_LEFT,), (Clue("by hand"),))
    found = whole.clues(picture(), encoder, given)
    assert [clue.text for clue in found.tags] == ["RED", "night", "blue"]  # red is there already
    assert [one.name.text for one in found.objects] == ["thing", "thing"]
    assert detector.words == ["red", "blue"]
    assert [[clue.text for clue in one.attributes] for one in found.objects] == [["red"], ["blue"]]
    assert [clue.text for clue in found.captions] == ["by hand", "40 pixels wide"]
    assert [len(one.captions) for one in found.objects] == [1, 0]
    assert found.objects[0].captions == (Clue("20 pixels wide"),)
    assert encoder.sizes == [(40, 20), (20, 20), (20, 20)]
    renamed = Extractor(COLOURS, detector=detector, name_objects=True).clues(picture(), encoder, given)
    assert [one.name.text for one in renamed.objects] == ["thing", "blue"]  # what was given stays
    by_hand = DetectedObject(Clue("x"), (0, 0, 1, 1), (Clue("old"),), (Clue("mine"),))
    kept = whole.clues(picture(), encoder, VisualClues(objects=(by_hand,)))
    assert kept.objects[0] == by_hand
    assert Extractor().clues(picture(), encoder) == VisualClues()
    detector.words = None
    high = Extractor(COLOURS, detector=detector, threshold=1.5).clues(picture(), encoder, given)
    assert (high.tags, high.objects, detector.words) == (given.tags, given.objects, None)  # no tag to look for
