"""Classes of images and videos: by their names, by a probe, and by fine-tuning."""

from pathlib import Path

import numpy as np
import pytest
import torch
from omnivl_folder import CAPTIONS, make_media, save_model

from fmcompress.errors import ConfigError
from fmcompress.vision_language.omnivl.classification import classify_by_probe, probe, zero_shot
from fmcompress.vision_language.omnivl.fine_tuning import FineTuning, VisualClassifier, fine_tune
from fmcompress.vision_language.omnivl.loaded import Medium, OmniVL, find_media


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classes")
    save_model(folder / "model")
    make_media(folder / "data")
    return folder


@pytest.fixture(scope="module")
def model(home: Path) -> OmniVL:
    return OmniVL(home / "model", batch_size=4)


@pytest.fixture(scope="module")
def media(home: Path) -> list[Medium]:
    """Of images and videos in turn."""
    return find_media(home / "data")


def test_classes_by_name_are_cosines_of_prompts(model: OmniVL, media: list[Medium]) -> None:
    classes = ["red", "green", "blue"]
    found = zero_shot(model, media[:4], classes, templates=["a {} square"])
    want = model.embed_media(media[:4]) @ model.embed_texts([f"a {c} square" for c in classes]).T
    np.testing.assert_allclose(found.scores, want, atol=1e-6)
    assert found.names == [classes[row] for row in want.argmax(axis=1)]
    by_kind = zero_shot(model, media[:4], classes)
    photos = model.embed_texts([f"a photo of a {c}" for c in classes])
    videos = model.embed_texts([f"a video of {c}" for c in classes])
    for row, medium in enumerate(media[:4]):
        prompts = videos if medium.video else photos
        np.testing.assert_allclose(by_kind.scores[row], model.embed_media([medium])[0] @ prompts.T, atol=1e-6)
    assert found.accuracy([None] * 4) is None
    assert found.accuracy([*found.names[:3], None]) == 1.0
    with pytest.raises(ConfigError, match="'pink' is none of the 3 classes"):
        found.accuracy(["pink"] * 4)


def labelled(home: Path, video: bool) -> tuple[list[Medium], list[str]]:
    """Media by name, and their colours: a caption each, three captions a colour, in the order of CAPTIONS."""
    media = [one for one in find_media(home / "data") if one.video == video]
    return media, [CAPTIONS[int(one.path.stem.split("-")[1])].split()[1] for one in media]


def test_a_probe_learns_colours_from_frozen_embeddings(home: Path, model: OmniVL) -> None:
    pytest.importorskip("sklearn")
    media, labels = labelled(home, video=False)
    head, classes = probe(model, media[:9], labels[:9], c=1e4)
    assert classes == ("blue", "green", "red")
    assert classify_by_probe(model, head, classes, media[:9]).accuracy(labels[:9]) == 1.0


@pytest.mark.parametrize("video", [False, True], ids=["images", "videos"])
def test_fine_tuning_learns_colours(home: Path, tmp_path: Path, video: bool) -> None:
    media, labels = labelled(home, video)
    before = torch.random.get_rng_state()
    options = FineTuning(epochs=20, patience=20, batch_size=3, learning_rate=1e-3)
    steps: list[int] = []
    given = {"val": (media[9:], labels[9:]), "options": options}
    found = fine_tune(
        home / "model",
        tmp_path / "out",
        media[:9],
        labels[:9],
        **given,
        progress=lambda d, t, loss: steps.append(t - d),
    )
    assert torch.equal(before, torch.random.get_rng_state())
    assert found.losses[-1] < 0.5 * found.losses[0]
    assert max(found.accuracies) == found.accuracies[found.best_epoch - 1] > 0.6
    assert steps == list(range(59, -1, -1))
    classifier = VisualClassifier(tmp_path / "out")
    assert classifier.classes == ("blue", "green", "red")
    assert classifier.classify(media[9:]).accuracy(labels[9:]) == pytest.approx(max(found.accuracies))
    assert found.best_epoch < 20
    until = FineTuning(epochs=found.best_epoch, patience=20, batch_size=3, learning_rate=1e-3)
    again = fine_tune(home / "model", tmp_path / "two", media[:9], labels[:9], val=given["val"], options=until)
    assert again.losses == found.losses[: found.best_epoch]
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("out", "two"))
    assert one == two  # the best epoch's weights, the last ones' are gone


def test_fine_tuning_stops_when_validation_gets_no_better(home: Path, tmp_path: Path) -> None:
    media, labels = labelled(home, video=False)
    still = FineTuning(epochs=9, patience=2, learning_rate=1e-12)
    found = fine_tune(home / "model", tmp_path / "out", media, labels, options=still)
    assert (len(found.accuracies), found.best_epoch) == (3, 1)
    with pytest.raises(ConfigError, match="is there already"):
        fine_tune(home / "model", tmp_path / "out", media, labels)
    with pytest.raises(ConfigError, match="two classes"):
        fine_tune(home / "model", tmp_path / "one", media, ["a"] * len(media))
