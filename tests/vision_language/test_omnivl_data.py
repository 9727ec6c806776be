import json

import numpy as np
import pytest
import torch
from training_cases import made, write_manifest

from fmcompress.errors import CalibrationError, ConfigError
from fmcompress.pairs import read_pairs
from fmcompress.vision_language.omnivl import inputs as inputs_module
from fmcompress.vision_language.omnivl.data import CAPTION, LABEL, QUESTION, ManifestPairs, TensorPairs, said_of


def test_manifest_becomes_batches(tmp_path):
    inputs = made(tmp_path, longest=64)
    data = ManifestPairs(read_pairs(write_manifest(tmp_path / "pairs")), inputs)
    assert len(data) == 14
    assert data.videos.tolist() == [False] * 8 + [True] * 6
    assert data.classes == ["cat", "dog"]
    batch = data.batch(np.array([0, 4, 5, 6]))
    assert batch.pixels.shape == (4, 3, 28, 28)
    assert batch.said.kinds.tolist() == [CAPTION, LABEL, LABEL, LABEL]
    assert inputs.decode(batch.said.ids) == [
        "picture number 0",
        *(f"a photo of a {name}" for name in ("cat", "dog", "cat")),
    ]
    assert batch.said.labels.tolist() == [2 + 0, 0, 1, 0]
    assert batch.said.own.tolist() == [0, 4, 5, 6]
    films = data.batch(np.array([13, 8]))
    assert films.pixels.shape == (2, 4, 3, 28, 28)
    assert films.said.kinds.tolist() == [QUESTION, CAPTION]
    assert inputs.decode(films.said.ids) == ["which film is it?", "film number 0"]
    assert inputs.decode(films.said.answers)[0] == "film 5"
    assert torch.equal(films.pixels[1], inputs.pixels([tmp_path / "pairs" / "0.npy"])[0])
    assert ManifestPairs(data.pairs, inputs, frames=2).batch(np.array([8])).pixels.shape[1] == 2


def test_padding_is_cut_to_the_batch(tmp_path):
    inputs = made(tmp_path, longest=64)
    said = said_of(inputs, ["a", "a long text about a red seven"], answers={0: "yes"})
    assert said.take(torch.tensor([0])).ids.shape == (1, 3)
    assert said.take(torch.tensor([0])).mask.all()
    assert said.take(torch.tensor([1])).ids.shape == said.ids[1:].shape
    assert inputs.decode(said.take(torch.tensor([0])).answers) == ["yes"]


def test_captions_of_one_image_share_its_number(tmp_path):
    inputs, path = made(tmp_path, longest=64), write_manifest(tmp_path / "pairs")
    with path.open("a") as file:
        file.write(json.dumps({"image": "0.png", "text": "another caption"}) + "\n")
    said = ManifestPairs(read_pairs(path), inputs).said
    assert said.labels[14] == said.labels[0]
    captions = said.labels[said.kinds == CAPTION].tolist()
    assert len(set(captions)) == len(captions) - 1
    assert not set(captions) & set(said.labels[said.kinds == LABEL].tolist())


def test_files_are_read_once_as_long_as_there_is_room(tmp_path, monkeypatch):
    inputs, read = made(tmp_path, longest=64), []
    real = inputs_module.read_media
    monkeypatch.setattr(
        inputs_module, "read_media", lambda path, frames: (read.append(path.name), real(path, frames))[1]
    )
    pairs = read_pairs(write_manifest(tmp_path / "pairs"))
    data = ManifestPairs(pairs, inputs, kept_bytes=3 * 28 * 28 * 4)
    first = data.batch(np.array([0, 1])).pixels
    assert torch.equal(first, data.batch(np.array([0, 1])).pixels)
    assert read == ["0.png", "1.png", "1.png"]


def test_tensors_are_items(tmp_path):
    inputs = made(tmp_path)
    images = torch.randint(0, 256, (2, 3, 28, 28), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    videos = torch.rand(3, 4, 3, 28, 28, generator=torch.Generator().manual_seed(1))
    said = said_of(inputs, ["a", "b", "c", "d", "e"], labels=[None, 1, 0, None, 1])
    data = TensorPairs(said, images, videos)
    assert data.videos.tolist() == [False, False, True, True, True]
    assert said.labels.tolist() == [2, 1, 0, 5, 1]
    torch.testing.assert_close(data.batch(np.array([1])).pixels, images[1:].float() / 127.5 - 1)
    batch = data.batch(np.array([4, 2]))
    assert torch.equal(batch.pixels, videos[[2, 0]])
    assert inputs.decode(batch.said.ids) == ["e", "c"]
    only = TensorPairs(said.take(torch.arange(3)), None, videos)
    assert torch.equal(only.batch(np.array([2])).pixels, videos[2:])


def test_what_does_not_fit_is_refused(tmp_path):
    inputs = made(tmp_path)
    data = TensorPairs(said_of(inputs, ["a", "b"]), torch.zeros(1, 3, 28, 28), torch.zeros(1, 4, 3, 28, 28))
    with pytest.raises(CalibrationError, match="all images or all videos"):
        data.batch(np.array([0, 1]))
    with pytest.raises(ConfigError, match="expected 1 items"):
        TensorPairs(said_of(inputs, ["a", "b"]), torch.zeros(1, 3, 28, 28))
    with pytest.raises(ConfigError, match="one each an item"):
        said_of(inputs, ["a", "b"], labels=[1])
