"""What commands are given: folders of images, lists of names, embeddings of one model."""

from dataclasses import replace

import numpy as np
import pytest
import tiny_models
from clip_cases import HashEncoder, unit_rows

from fmcompress.clip import EmbeddingSet, write_embeddings
from fmcompress.clip.inputs import TEMPLATE, Inputs, find_images, labels_of, read_template_options
from fmcompress.errors import ConfigError


@pytest.fixture
def inputs(monkeypatch, tmp_path):
    """Inputs whose model is the HashEncoder."""
    found = HashEncoder()
    monkeypatch.setattr("fmcompress.clip.inputs.load_encoder", lambda model, **options: found)
    return Inputs(tmp_path / "model")


def test_folders_are_classes(tmp_path):
    for name in ("dog", "cat/deep", "cat"):
        tiny_models.make_images(tmp_path / name, 1)
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "notes.txt").write_text("no image")
    paths, names, labels, classes = find_images(tmp_path)
    assert names == ("cat/0.png", "cat/deep/0.png", "dog/0.png")
    assert (labels.tolist(), classes) == ([0, 0, 1], ("cat", "dog"))
    assert paths == [tmp_path / name for name in names]
    (tmp_path / "cow").mkdir()
    with pytest.raises(ConfigError, match="the folder of class 'cow' holds no images"):
        find_images(tmp_path)
    tiny_models.make_images(tmp_path, 1)
    with pytest.raises(ConfigError, match=r"images beside folders of classes, such as '0\.png'"):
        find_images(tmp_path)


def test_a_flat_folder_has_no_labels(tmp_path):
    tiny_models.make_images(tmp_path / "flat", 2)
    _, names, labels, classes = find_images(tmp_path / "flat")
    assert (names, labels, classes) == (("0.png", "1.png"), None, ())
    (tmp_path / "empty").mkdir()
    for name, told in (("empty", "holds no images"), ("absent", "no such folder")):
        with pytest.raises(ConfigError, match=told):
            find_images(tmp_path / name)


def test_images_are_embedded_with_what_is_known(inputs, tmp_path):
    paths = [path for name in ("cat", "dog") for path in tiny_models.make_images(tmp_path / "im" / name, 2, len(name))]
    steps = []
    inputs.progress = lambda *at: steps.append(at)
    found = inputs.images(tmp_path / "im")
    assert (found.vectors == HashEncoder().encode_images(paths)).all()
    assert (found.classes, found.labels.tolist(), found.logit_scale) == (("cat", "dog"), [0, 0, 1, 1], 100.0)
    assert found.identity == HashEncoder().identity
    assert steps[-1] == (4, 4)
    inputs.cache = tmp_path / "cache"
    assert (inputs.images(tmp_path / "im").vectors == found.vectors).all()
    before = len(inputs.encoder.asked)
    inputs.images(tmp_path / "im")
    assert len(inputs.encoder.asked) == before


def test_classes_are_embedded_by_templates(inputs, tmp_path):
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    found = inputs.text(None, tmp_path / "names.txt", ["a {}"])
    assert inputs.encoder.asked == [b"a cat", b"a dog"]
    assert (found.names, found.labels.tolist()) == (("cat", "dog"), [0, 1])


def test_text_of_a_file_needs_names(tmp_path):
    write_embeddings(tmp_path / "bare.safetensors", EmbeddingSet(unit_rows(2)))
    write_embeddings(tmp_path / "named.safetensors", EmbeddingSet(unit_rows(2), ("cat", "dog")))
    (tmp_path / "names.txt").write_text("cow\npig\n")
    assert Inputs().text(tmp_path / "named.safetensors", None).classes == ("cat", "dog")
    assert Inputs().text(tmp_path / "bare.safetensors", tmp_path / "names.txt").classes == ("cow", "pig")
    for text, classes, told in (
        ("bare.safetensors", None, "its rows have no names"),
        ("named.safetensors", "names.txt", "has names of its own, and others"),
        (None, None, "--classes or --text: missing"),
        (None, "names.txt", "--model: missing"),
    ):
        with pytest.raises(ConfigError, match=told):
            Inputs().text(text and tmp_path / text, classes and tmp_path / classes)
    (tmp_path / "names.txt").write_text("cow\n")
    with pytest.raises(ConfigError, match="names: expected 2"):
        Inputs().text(tmp_path / "bare.safetensors", tmp_path / "names.txt")


def test_templates_of_the_command_line(tmp_path):
    assert read_template_options([]) == [TEMPLATE]
    assert read_template_options(["a {}", "the {}"]) == ["a {}", "the {}"]
    (tmp_path / "a.txt").write_text("one {}\n")
    assert read_template_options([str(tmp_path / "a.txt")]) == ["one {}"]
    with pytest.raises(ConfigError, match="--template: expected one file, or templates"):
        read_template_options([str(tmp_path / "a.txt"), "a {}"])


TEXT = EmbeddingSet(unit_rows(3), ("ape", "cat", "dog"))


def images(labels, classes, **options):
    return EmbeddingSet(unit_rows(len(labels)), labels=np.array(labels), classes=classes, **options)


def test_labels_are_matched_by_name():
    assert labels_of(images([0, 1, -1], ("dog", "ape")), TEXT).tolist() == [2, 0, -1]
    assert labels_of(images([0, 1], ("dog", "ape", "never used")), TEXT).tolist() == [2, 0]
    assert labels_of(images([0, 1, 1], ("2", "0")), TEXT).tolist() == [2, 0, 0]
    assert labels_of(EmbeddingSet(unit_rows(2)), TEXT) is None
    for classes in (("dog", "cow"), ("0", "3"), ("0", "dog cat")):
        with pytest.raises(ConfigError, match="of the images' classes are none of the text's"):
            labels_of(images([0, 1], classes), TEXT)
    with pytest.raises(ConfigError, match="but model is n"):
        labels_of(images([0], ("dog",), identity={"model": "m"}), replace(TEXT, identity={"model": "n"}))
