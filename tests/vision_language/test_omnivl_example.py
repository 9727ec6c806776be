"""The run behind the README's table, shortened, and the digits that it learns from."""

import importlib
import json
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT

from fmcompress.pairs import read_pairs

EXAMPLE = ROOT / "examples" / "omnivl"


@pytest.fixture(scope="module")
def modules():
    pytest.importorskip("sklearn")
    sys.path.insert(0, str(EXAMPLE))
    return importlib.import_module("moving_digits"), importlib.import_module("pretraining")


@pytest.fixture(scope="module")
def parts(modules):
    return modules[0].scenes(None, 0)


def centre(pictures):
    """[…, 2] row and column of what is not black."""
    ink = pictures.astype(float).sum(-1)
    total = ink.sum((-1, -2))
    places = np.arange(ink.shape[-1])
    return np.stack([(ink.sum(-1) * places).sum(-1) / total, (ink.sum(-2) * places).sum(-1) / total], axis=-1)


def test_videos_move_as_they_say(modules, parts):
    digits, _ = modules
    videos = parts["test"].videos(np.random.default_rng(0))
    assert videos.shape[1:] == (8, 32, 32, 3)
    way = centre(videos[:, -1]) - centre(videos[:, 0])
    for row, caption in enumerate(digits.said_of_videos(parts["test"])):
        direction = caption.split()[4]
        along, across = (way[row, 0], way[row, 1]) if direction in ("up", "down") else (way[row, 1], way[row, 0])
        assert across == pytest.approx(0, abs=1e-9)
        assert (along > 0) == (direction in ("down", "right"))
        assert 7.9 < abs(along) < 16.1


def test_images_lie_where_they_say(modules, parts):
    digits, _ = modules
    pictures = parts["test"].images(np.random.default_rng(0))
    found = centre(pictures)
    for row, caption in enumerate(digits.said_of_images(parts["test"])):
        for axis, name in enumerate(caption.split()[-2:]):
            assert abs(found[row, axis] - (8 + 8 * digits.PLACES[axis].index(name))) < 6


def test_no_digit_is_in_two_parts(parts):
    seen = [{ink.tobytes() for ink in part.ink} for part in parts.values()]
    assert sum(map(len, seen)) == len(set().union(*seen)) + sum(
        len(a & b) for a, b in zip(seen, seen[1:] + seen[:1], strict=True)
    )
    assert sum(len(part) for part in parts.values()) == 1797


def test_written_manifests_are_read(modules, parts, tmp_path):
    digits, _ = modules
    digits.write(parts, tmp_path / "out", images=5, videos=4, seed=0)
    for name in ("train", "test"):
        pairs = read_pairs(tmp_path / "out" / f"{name}.jsonl")
        assert [pair.video for pair in pairs] == [False] * 5 + [True] * 4


def test_same_data_whatever_the_contrast_and_fewer_without_labels(modules, parts, tmp_path):
    _, run = modules
    inputs = run.new_inputs(str(tmp_path))
    whole, plain, captions = (
        run.learned_from(parts["train"], run.ARMS[name], inputs, 0)
        for name in ("images, then both", "… labels as captions (plain)", "… captions alone, no labels")
    )
    rows = np.arange(20)
    assert torch.equal(whole.batch(rows).pixels, plain.batch(rows).pixels)
    assert torch.equal(whole.batch(rows).pixels, captions.batch(rows).pixels)
    assert len(captions) < len(whole)
    assert set(captions.said.kinds.tolist()) == {0}
    assert set(whole.said.kinds.tolist()) == {0, 1}


def test_shortened_run_measures_every_line(modules, tmp_path, monkeypatch, capsys):
    _, run = modules
    monkeypatch.setattr(run, "GALLERY", 20)
    out = tmp_path / "results.json"
    arguments = [
        "pretraining.py",
        "--seeds",
        "3",
        "--image-steps",
        "2",
        "--video-steps",
        "1",
        "--out",
        str(out),
        "--part",
        "val",
    ]
    monkeypatch.setattr(sys, "argv", arguments)
    run.main()
    found = json.loads(out.read_text())["3"]
    assert set(found) == set(run.ARMS)
    assert all(0 <= one[name] <= 100 for one in found.values() for name in run.MEASURES)
    assert len({json.dumps({**one, "training_cpu_s": 0}) for one in found.values()}) > 3
    assert capsys.readouterr().out.count("| ") > len(run.ARMS)


def test_real_digits_are_read(modules, shared_data):
    parts = modules[0].scenes(shared_data / "mnist-test", 0)
    assert [len(parts[name]) for name in ("train", "val", "test")] == [6000, 1500, 2500]


def test_readme_table_is_of_the_results(modules):
    _, run = modules
    results = json.loads((EXAMPLE / "results.json").read_text())
    readme = (ROOT / "README.md").read_text()
    assert all(line in readme for line in run.table(results).splitlines())
