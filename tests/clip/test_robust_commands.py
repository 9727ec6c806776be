"""fmcompress clip roboshot and adapter, on embeddings in files."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import invoke
from robust_cases import DIM, waterbirds

from fmcompress.clip import EmbeddingSet, normalised
from fmcompress.clip.adapters import FittedAdapter
from fmcompress.clip.files import read_embeddings, write_embeddings

CLASSES = ("landbird", "waterbird")
GROUPS = tuple(f"{cls} on {place}" for cls in CLASSES for place in ("land", "water"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """images.safetensors of three splits, text.safetensors, insights and the embeddings of their texts."""
    folder = tmp_path_factory.mktemp("birds")
    draw = np.random.default_rng(0)
    *parts, text = waterbirds(draw)
    splits = [name for name, part in zip(("train", "val", "test"), parts, strict=True) for _ in part.labels]
    images = EmbeddingSet(
        np.vstack([part.vectors for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        classes=CLASSES,
        groups=np.concatenate([part.groups for part in parts if part.groups is not None]),
        group_names=GROUPS,
        splits=tuple(splits),
        identity={"model": "birds"},
    )
    write_embeddings(folder / "images.safetensors", images)
    write_embeddings(folder / "text.safetensors", EmbeddingSet(text, names=CLASSES, identity={"model": "birds"}))
    z = np.linalg.qr(np.random.default_rng(0).standard_normal((DIM, DIM)))[0].T  # as waterbirds draws them first
    told = normalised(np.stack([z[2] + z[1], z[2] - z[1], z[2] + z[0], z[2] - z[0]])).astype(np.float32)
    names = ("open water", "dry land", "webbed feet", "perching feet")
    write_embeddings(folder / "told.safetensors", EmbeddingSet(told, names=names, identity={"model": "birds"}))
    directions = normalised(np.stack([told[0] - told[1]]))
    write_embeddings(folder / "directions.safetensors", EmbeddingSet(directions, identity={"model": "birds"}))
    pairs = [("reject", *names[:2]), ("accept", *names[2:])]
    (folder / "insights.json").write_text(
        json.dumps([dict(zip(("kind", "a", "b"), pair, strict=True)) for pair in pairs])
    )
    return folder


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    done = invoke(capsys, *arguments)
    return done.code, done.stdout, done.stderr


def test_roboshot_raises_the_worst_group(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [place / "images.safetensors", "--text", place / "text.safetensors"]
    files = ["--out", tmp_path / "after.safetensors", "--plot", tmp_path / "groups.png"]
    told = ["--insights", place / "insights.json", "--insight-text", place / "told.safetensors", "--adapt"]
    code, out, err = run(capsys, "clip", "roboshot", *given, *told, *files, "--json")
    assert code == 0, err
    found = json.loads(out)
    worst = {name: report["worst"] for name, report in found["reports"].items()}
    assert set(worst) == {"zero-shot", "reject", "accept", "both", "adapted"}
    assert worst["both"] > worst["zero-shot"] + 0.5
    assert (found["rank_reject"], found["rank_accept"], found["split"]) == (1, 1, "test")
    assert len(read_embeddings(tmp_path / "after.safetensors")) == len(read_embeddings(given[0]))
    assert (tmp_path / "groups.png").stat().st_size > 1000
    code, out, err = run(capsys, "clip", "roboshot", *given, "--reject", place / "directions.safetensors")
    assert code == 0, err
    assert "zero-shot" in out
    assert "of rank 1" in out


def test_roboshot_asks_a_language_model(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from fmcompress.clip.ask_insights import _prompt

    answers = {"reject": "1. open water | dry land\nthat is all", "accept": "webbed feet | perching feet"}
    lines = [{"prompt": _prompt(kind, *CLASSES, "", 5), "completion": said} for kind, said in answers.items()]
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    arguments = [
        "clip", "roboshot", place / "images.safetensors", "--text", place / "text.safetensors",
        "--language-model", tmp_path / "answers.jsonl", "--insight-text", place / "told.safetensors",
        "--out-insights", tmp_path / "insights.json", "--json",
    ]  # fmt: skip
    code, out, err = run(capsys, *arguments)
    assert code == 0, err
    found = json.loads(out)
    assert found["reports"]["both"]["worst"] > found["reports"]["zero-shot"]["worst"] + 0.5
    assert "1 lines were no pair of texts, such as 'that is all'" in found["notes"]
    assert len(json.loads((tmp_path / "insights.json").read_text())["insights"]) == 2


def test_adapter_beside_zero_shot(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [place / "images.safetensors", "--text", place / "text.safetensors", "--epochs", "6"]
    code, out, err = run(capsys, "clip", "adapter", *given, "--out", tmp_path / "a.safetensors", "--json")
    assert code == 0, err
    found = json.loads(out)["reports"]
    assert set(found) == {"zeroshot", "contrastive"}
    assert found["contrastive"]["worst"] > found["zeroshot"]["worst"] + 0.3
    assert found["contrastive"]["parameters"] == 8352
    read = FittedAdapter.load(tmp_path / "a.safetensors")
    assert (read.classes, read.identity) == (CLASSES, {"model": "birds"})
    code, out, err = run(capsys, "clip", "adapter", *given, "--method", "all", "--plot", tmp_path / "g.png")
    assert code == 0, err
    assert all(name in out for name in ("dfr", "groupdro", "linear", "erm", GROUPS[1]))


def test_adapter_without_groups(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = replace(read_embeddings(place / "images.safetensors"), groups=None, group_names=())
    write_embeddings(tmp_path / "i.safetensors", images)
    given = [tmp_path / "i.safetensors", "--text", place / "text.safetensors", "--method", "erm", "--epochs", 1]
    code, out, err = run(capsys, "clip", "adapter", *given)
    assert code == 0, err
    assert "each class is one" in err
    assert "landbird" in out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["roboshot", "IMAGES", "--text", "TEXT"], "expected one source of directions"),
        (["roboshot", "IMAGES", "--text", "TEXT", "--reject", "TEXT", "--insights", "X"], "expected one source"),
        (["roboshot", "IMAGES", "--reject", "TEXT"], "--out, or --classes or --text: missing"),
        (["roboshot", "IMAGES", "--text", "TEXT", "--insights", "TEXT"], "cannot be read as JSON"),
        (["adapter", "IMAGES", "--text", "TEXT", "--schedule", "none"], "schedule: expected one of"),
        (["adapter", "TOLD", "--text", "TEXT"], "--val: missing"),
        (["adapter", "IMAGES", "--text", "TEXT", "--method", "dfr", "--out", "a.safetensors"], "--out: expected"),
    ],
)
def test_bad_calls(place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str) -> None:
    files = {"IMAGES": "images", "TEXT": "text", "TOLD": "told"}
    given = [place / f"{files[each]}.safetensors" if each in files else each for each in arguments]
    code, _, err = run(capsys, "clip", *given)
    assert code != 0
    assert told in " ".join(err.split())
