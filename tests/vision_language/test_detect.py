"""Objects and captions by tiny random models of transformers, from folders, over Pillow, without a network."""

import pytest
import tiny_vision as tiny
from helpers import make_checkpoint
from tiny_vision import tiny_models

from fmcompress.calibration import read_image
from fmcompress.errors import CheckpointError, ConfigError
from fmcompress.vision_language.visual_clues.captions import Captioner
from fmcompress.vision_language.visual_clues.detect import ObjectDetector


@pytest.fixture
def image(tmp_path):
    return read_image(tiny_models.make_images(tmp_path / "images", 1)[0])


def check(found, names):
    scores = [one.name.score for one in found]
    assert scores == sorted(scores, reverse=True)
    assert {one.name.text for one in found} <= set(names)
    for left, top, right, bottom in (one.box for one in found):
        assert 0 <= left < right <= 1
        assert 0 <= top < bottom <= 1


@pytest.mark.parametrize("make", tiny.CLOSED, ids=lambda make: make.__name__)
def test_detectors_of_fixed_classes(make, tmp_path, image):
    folder = tiny.save_vision(make, tmp_path / "model")
    detector = ObjectDetector(folder, "cpu", threshold=0.0)
    assert not detector.takes_words
    found = detector.detect(image, ["zebra"])
    check(found, tiny.LABELS["id2label"].values())
    assert len(found) >= 2
    assert found == detector.detect(image)
    assert ObjectDetector(folder, "cpu", threshold=0.0, most=1).detect(image) == found[:1]
    middle = (found[0].name.score + found[-1].name.score) / 2
    kept = ObjectDetector(folder, "cpu", threshold=middle).detect(image)
    assert kept == tuple(one for one in found if one.name.score > middle)


def test_a_detector_of_words(tmp_path, image):
    detector = ObjectDetector(tiny.save_vision(tiny.owlvit, tmp_path / "model"), "cpu", threshold=0.0)
    assert detector.takes_words
    found = detector.detect(image, ["cat", "red dog"])
    check(found, ["cat", "red dog"])
    assert len(found) >= 2
    turned = detector.detect(image, ["red dog", "cat"])
    assert [one.name.text for one in turned] == [one.name.text for one in found]  # words, whatever their order
    assert {one.name.text for one in detector.detect(image, ["cat"])} == {"cat"}
    with pytest.raises(ConfigError, match="looks for words, and there are none"):
        detector.detect(image)


@pytest.mark.parametrize("make", tiny.CAPTIONERS, ids=lambda make: make.__name__)
def test_captioners(make, tmp_path, image):
    captioner = Captioner(tiny.save_vision(make, tmp_path / "model"), "cpu", max_tokens=6, batch_size=2)
    images = [image, image.rotate(90), image.crop((0, 0, 9, 5))]
    found = captioner.captions(images)
    assert len(found) == 3
    assert all(found)
    assert found == [captioner.captions([one])[0] for one in images]
    assert captioner.captions([]) == []


def test_other_folders(tmp_path):
    clip = tiny_models.save("clip", tmp_path / "clip")
    llama = make_checkpoint(tmp_path / "llama")
    yolos = tiny.save_vision(tiny.yolos, tmp_path / "yolos")
    for make in (ObjectDetector, Captioner):
        with pytest.raises(ConfigError, match="no such folder"):
            make(tmp_path / "none", "cpu")
        with pytest.raises(ConfigError, match="expected a model that"):
            make(clip, "cpu")
        with pytest.raises((ConfigError, CheckpointError)):
            make(llama, "cpu")
    with pytest.raises(ConfigError, match="writes captions, got YolosForObjectDetection"):
        Captioner(yolos, "cpu")
    with pytest.raises(ConfigError, match="most >= 1"):
        ObjectDetector(yolos, "cpu", most=0)
    (yolos / "preprocessor_config.json").unlink()
    with pytest.raises(CheckpointError, match="image processor does not load"):
        ObjectDetector(yolos, "cpu")
