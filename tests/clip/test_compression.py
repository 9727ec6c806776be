"""What compression does to a model of two towers, over random matrices and over CLIP with both towers compressed."""

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from helpers import invoke

from fmcompress.clip import EmbeddingSet, normalised
from fmcompress.clip.compression import compare_embeddings, compare_models, drift
from fmcompress.errors import ConfigError

CLASSES = ("cat", "dog", "tractor")


def rows(count, dim=8, seed=0):
    return normalised(np.random.default_rng(seed).standard_normal((count, dim))).astype(np.float32)


def test_drift_is_one_minus_the_cosine():
    one, other = rows(40), rows(40, seed=1)
    moved = 1 - np.sum(one.astype(float) * other, axis=1)
    assert drift(one, other).mean == pytest.approx(moved.mean(), abs=1e-6)
    assert drift(one, other).p95 == pytest.approx(np.percentile(moved, 95), abs=1e-6)
    assert vars(drift(one, one)) == {"mean": 0.0, "p95": 0.0}
    tilted = np.eye(2) + np.array([[0, 1e-9], [1e-9, 0]])
    assert drift(np.eye(2), tilted).mean == pytest.approx(0.5e-18, rel=1e-6)  # what 1 - cosine would round away
    for wrong in (rows(39), rows(40, 7)):
        with pytest.raises(ConfigError, match="expected"):
            drift(one, wrong)


def sets(seed, groups=True):
    known = {"groups": np.arange(30) % 2, "group_names": ("day", "night")} if groups else {}
    images = EmbeddingSet(rows(30, seed=seed), labels=np.arange(30) % 3, classes=CLASSES, **known)
    return images, EmbeddingSet(rows(3, seed=seed + 100), names=CLASSES)


@pytest.mark.parametrize("groups", [True, False])
def test_a_model_is_held_against_the_dense_one(groups):
    dense, other = sets(0, groups), sets(1, groups)
    found = compare_embeddings("x", *other, dense, 7)
    predicted = [(images.vectors @ text.vectors.T).argmax(1) for images, text in (dense, other)]
    right = predicted[1] == np.arange(30) % 3
    assert found.accuracy == right.mean()
    by = np.arange(30) % (2 if groups else 3)
    assert found.groups.worst == min(right[by == group].mean() for group in np.unique(by))
    assert found.agreement == (predicted[0] == predicted[1]).mean()
    assert found.checkpoint_bytes == 7
    assert found.image_drift == drift(dense[0].vectors, other[0].vectors)
    assert found.text_drift == drift(dense[1].vectors, other[1].vectors) != found.image_drift
    itself = compare_embeddings("dense", *dense, dense)
    assert (itself.agreement, itself.image_drift.p95, itself.text_drift.mean) == (1, 0, 0)


def test_without_labels_drift_and_agreement_are_left():
    dense = EmbeddingSet(rows(5)), EmbeddingSet(rows(3, seed=1), names=CLASSES)
    found = compare_embeddings("x", *dense, dense)
    assert (found.accuracy, found.groups, found.agreement) == (None, None, 1.0)
    assert found.as_dict()["groups"] is None


def test_models_that_do_not_fit():
    dense = sets(0)
    narrow = EmbeddingSet(rows(30, 4)), EmbeddingSet(rows(3, 4), names=CLASSES)
    with pytest.raises(ConfigError, match="expected embeddings of 8 numbers as of the dense model, got 4"):
        compare_embeddings("x", *narrow, dense)
    with pytest.raises(ConfigError, match="at least one compressed, got one"):
        compare_models([Path("x")], lambda folder: dense)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A random CLIP, pruned and quantized in both towers by the command line, with images of three classes."""
    home = tmp_path_factory.mktemp("compression")
    tiny_models.save("clip", home / "dense")
    for number, name in enumerate(CLASSES):
        tiny_models.make_images(home / "images" / name, 4, seed=number)
    tiny_models.make_images(home / "calibration", 6, seed=9)
    (home / "captions.jsonl").write_text(
        "".join(json.dumps({"text": f"a photo of a cat and {n} dogs"}) + "\n" for n in range(40))
    )
    (home / "classes.txt").write_text("\n".join(CLASSES))
    lines = [f"{name}/{n}.png,{'day' if n % 2 else 'night'}" for name in CLASSES for n in range(4)]
    (home / "groups.csv").write_text("name,group\n" + "\n".join(lines))
    return home


def compress(capsys, home, name, *options):
    if not (home / name).exists():
        shared = ("--calibration", home / "captions.jsonl", "--images", home / "calibration", "--device", "cpu")
        outcome = invoke(
            capsys, *options[:1], home / "dense", home / name, *options[1:], *shared, "--sequence-length", 16, "--quiet"
        )
        assert outcome.code == 0, outcome.stderr


def test_dense_and_compressed_on_the_same_images(home, capsys):
    compress(capsys, home, "pruned", "prune", "--sparsity", 0.5, "--format", "packed")
    compress(capsys, home, "8-bit", "quantize", "--bits", 8, "--group-size", 16, "--format", "packed")
    compress(capsys, home, "2-bit", "quantize", "--bits", 2, "--group-size", 16, "--format", "packed")
    args = ["clip", "compare", *(home / n for n in ("dense", "8-bit", "2-bit", "pruned")), "--images", home / "images",
            "--classes", home / "classes.txt", "--labels", home / "groups.csv", "--cache", home / "cache",
            "--template", "a photo of a {}.", "--device", "cpu"]  # fmt: skip
    outcome = invoke(capsys, *args, "--plot", home / "groups.svg", "--json")
    assert outcome.code == 0, outcome.stderr
    dense, eight, two, pruned = json.loads(outcome.stdout)["models"]
    assert (dense["agreement"], dense["image_drift"]["mean"], dense["text_drift"]["p95"]) == (1.0, 0.0, 0.0)
    for side in ("image_drift", "text_drift"):
        assert 0 < eight[side]["mean"] < two[side]["mean"] < 2
        assert 0 < pruned[side]["mean"] <= pruned[side]["p95"]
    assert two["checkpoint_bytes"] < eight["checkpoint_bytes"] < dense["checkpoint_bytes"]
    assert {group["name"] for group in two["groups"]["groups"]} == {"day", "night"}
    assert two["groups"]["worst"] == min(group["accuracy"] for group in two["groups"]["groups"])
    assert (home / "groups.svg").read_text().count("average") == 4
    again = invoke(capsys, *args, "--json")
    assert json.loads(again.stdout) == json.loads(outcome.stdout)  # from the cache
    table = invoke(capsys, *args)
    assert table.code == 0, table.stderr
    assert "worst group" in table.stdout
    assert len(table.stdout.splitlines()) == 5


def test_what_cannot_be_compared(home, capsys):
    def told(*args):
        outcome = invoke(capsys, "clip", "compare", *args, "--device", "cpu")
        assert outcome.code == 2
        return outcome.stderr

    shared = ("--images", home / "images", "--classes", home / "classes.txt")
    assert "at least one compressed" in told(home / "dense", *shared)
    assert "no such folder" in told(home / "dense", home / "none", *shared)
    assert "no such folder" in told(home / "dense", home / "dense", "--images", home / "no", *shared[2:])
    wider = tiny_models.save("siglip", home / "siglip")
    assert "expected embeddings of 16 numbers" in told(home / "dense", wider, *shared)
