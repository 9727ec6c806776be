"""What an OmniVL model is calibrated with, and what is said where that does not do; the commands around it."""

import json
from pathlib import Path
from typing import Any

import pytest
from helpers import CPU, Silent, invoke, make_text
from omnivl_folder import make_media, save_model, write_manifest

from fmcompress.checkpoint import Checkpoint
from fmcompress.config import PruneConfig
from fmcompress.errors import CalibrationError, ConfigError
from fmcompress.pipeline import compress_checkpoint, prepare

LAYERS = 2 * (11 + 6 + 10 + 10)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("omnivl")
    save_model(folder / "model")
    make_media(folder / "data", copies=4)
    make_text(folder / "text.txt", 3000)
    return folder


def job_of(home: Path, calibration: Path | None = None, **options: Any) -> Any:
    return prepare(home / "model", PruneConfig(**options), calibration or home / "data" / "videos.jsonl", CPU)


def run(home: Path, out: Path, **options: Any) -> dict[str, Any]:
    return compress_checkpoint(job_of(home, **options), out, Silent())


def test_images_alone_leave_what_attends_over_time(home: Path, tmp_path: Path) -> None:
    images = home / "data" / "images.jsonl"
    with pytest.raises(CalibrationError, match=r"temporal_attention.*0 calibration tokens.*videos if it looks over ti"):
        run(home, tmp_path / "out", sparsity=0.5, calibration=images)
    told = "has no videos: what attends over time sees nothing"  # before any work, so by --dry-run, too
    assert any(told in note for note in job_of(home, images, sparsity=0.5).notes)
    assert not any(told in note for note in job_of(home, sparsity=0.5).notes)
    facts = run(home, tmp_path / "out", sparsity=0.5, calibration=images, few_tokens="magnitude")
    assert len(facts["layers"]) == LAYERS
    by_size = {record["tensor"] for record in facts["layers"] if record.get("solved_by") == "magnitude"}
    assert len(by_size) == 10
    assert all("temporal" in name for name in by_size)
    facts = run(home, tmp_path / "two", sparsity=0.5, calibration=images, exclude="temporal")
    assert len(facts["layers"]) == LAYERS - 10


def test_images_beside_videos_are_left_out_and_told(home: Path, tmp_path: Path) -> None:
    job = job_of(home, sparsity=0.5, calibration=home / "data" / "both.jsonl")
    assert job.pairs.pixels.shape == (36, 8, 3, 28, 28)
    assert any("36 images are left out" in note for note in job.notes)
    assert len(job_of(home, sparsity=0.5, samples=5).pairs) == 5
    few = job_of(home, sparsity=0.5, samples=99)
    assert any("holds 36 pairs to calibrate with, fewer than the 99 asked for" in note for note in few.notes)


def test_a_tower_alone_needs_its_own_input_only(home: Path, tmp_path: Path) -> None:
    for_images = PruneConfig(sparsity=0.5, include="^visual_encoder", exclude="temporal")
    job = prepare(home / "model", for_images, None, CPU, images=home / "data")
    assert len(compress_checkpoint(job, tmp_path / "one", Silent())["layers"]) == 12
    for_text = PruneConfig(sparsity=0.5, include="^text_encoder", sequence_length=16, samples=4)
    job = prepare(home / "model", for_text, home / "text.txt", CPU)
    assert len(compress_checkpoint(job, tmp_path / "two", Silent())["layers"]) == 12


def test_decoders_cannot_do_without_pairs(home: Path) -> None:
    config = PruneConfig(sparsity=0.5, sequence_length=16, samples=4)
    with pytest.raises(
        CalibrationError, match=r"generation_decoder needs a manifest .*--exclude '\^generation_decoder'"
    ):
        prepare(home / "model", config, home / "text.txt", CPU, images=home / "data")
    with pytest.raises(ConfigError, match="names images already"):
        prepare(home / "model", config, home / "data" / "images.jsonl", CPU, images=home / "data")


def test_bad_manifests(home: Path, tmp_path: Path) -> None:
    gone = write_manifest(tmp_path / "gone.jsonl", [{"video": "none.npy", "text": "a"}])
    with pytest.raises(CalibrationError, match=r"none\.npy: 1 of 1 images and videos are not there"):
        job_of(home, gone, sparsity=0.5)
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"image": "a.png", "text": "a"}\n{"image": 1}\n')
    with pytest.raises(CalibrationError, match=r"broken\.jsonl, line 2: expected \"image\" to be a string"):
        job_of(home, broken, sparsity=0.5)


def test_commands(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ("--calibration", home / "data" / "videos.jsonl", "--sparsity", 0.5)
    plan = json.loads(invoke(capsys, "prune", home / "model", tmp_path / "out", *given, "--dry-run", "--json").stdout)
    assert (plan["layers"], plan["blocks"]) == (LAYERS, 8)
    assert plan["hessian_bytes"] > 0
    outcome = invoke(capsys, "prune", home / "model", tmp_path / "out", *given, "--format", "packed", "--json")
    assert outcome.code == 0, outcome.stderr
    facts = json.loads(outcome.stdout)
    assert facts["calibration_pairs"] == 36
    assert invoke(capsys, "inspect", tmp_path / "out").code == 0
    assert invoke(capsys, "report", tmp_path / "out", "--output", tmp_path / "page.html").code == 0
    assert invoke(capsys, "unpack", tmp_path / "out", tmp_path / "dense").code == 0
    assert len(Checkpoint(tmp_path / "dense").tensors) == len(Checkpoint(home / "model").tensors)
    outcome = invoke(capsys, "eval", home / "model", "--text", home / "text.txt")
    assert outcome.code == 2
    assert "OmniVLModel predicts no next token" in outcome.stderr
    assert outcome.stderr.count("\n") == 1
