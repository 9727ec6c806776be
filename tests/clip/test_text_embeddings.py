"""Real CLIP text embeddings of four vocabularies: names are nearest to themselves, and to what is like them."""

from dataclasses import replace

import numpy as np
import pytest

from fmcompress.clip import predict, read_embeddings, top_k
from fmcompress.clip.inputs import Inputs
from fmcompress.errors import ConfigError

VOCABULARIES = {"coco80": 80, "objects365": 365, "openimages500": 500, "lvis1203": 1203}


@pytest.fixture(scope="module")
def folder(shared_data):
    return shared_data / "clip-text-embeddings"


def vocabulary(folder, name):
    """With names as they are: Open Images calls two rows Bench."""
    names = (folder / f"{name}_names.txt").read_text().splitlines()
    return replace(read_embeddings(folder / f"{name}_vitb32.npy", normalise=True), names=tuple(names))


@pytest.mark.parametrize("name", VOCABULARIES)
def test_every_vocabulary_reads_with_its_names(folder, name):
    found = vocabulary(folder, name)
    assert found.vectors.shape == (VOCABULARIES[name], 512)
    assert abs(np.linalg.norm(found.vectors, axis=1) - 1).max() < 1e-6


@pytest.mark.parametrize(("other", "shared"), [("objects365", 70), ("openimages500", 64)])
def test_each_class_of_coco_finds_its_namesake(folder, other, shared):
    coco, text = vocabulary(folder, "coco80"), vocabulary(folder, other)
    known = {name.lower() for name in text.names}
    namesakes = [row for row, name in enumerate(coco.names) if name.lower() in known]
    assert len(namesakes) == shared
    nearest = predict(coco.vectors[namesakes], text.vectors)
    for row, found in zip(namesakes, nearest, strict=True):
        assert text.names[found].lower() == coco.names[row].lower()
    _, cosines = top_k(coco.vectors[namesakes], text.vectors, 1)
    assert cosines.min() > 0.99


def test_what_is_nearest_to_a_cat(folder):
    coco, lvis = vocabulary(folder, "coco80"), vocabulary(folder, "lvis1203")
    cat = coco.names.index("cat")
    ranked, _ = top_k(coco.vectors[[cat]], lvis.vectors, 5)
    assert [lvis.names[row] for row in ranked[0]] == ["cat", "kitten", "dog", "bird", "rodent"]


def test_as_classes_their_names_must_differ(folder):
    inputs = Inputs(normalise=True)
    for name in ("coco80", "objects365", "lvis1203"):
        text = inputs.text(folder / f"{name}_vitb32.npy", folder / f"{name}_names.txt")
        assert text.classes == text.names == vocabulary(folder, name).names
    with pytest.raises(ConfigError, match="'Bench' stands there twice"):
        inputs.text(folder / "openimages500_vitb32.npy", folder / "openimages500_names.txt")


def test_as_the_model_gave_them_they_are_refused(folder):
    with pytest.raises(ValueError, match="expected rows of length 1, in 80 of 80 rows"):
        read_embeddings(folder / "coco80_vitb32.npy")
