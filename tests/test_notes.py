"""What a person is told before a run, dry runs and JSON included, and while something works."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from compression import run
from helpers import CPU, invoke, make_checkpoint, make_text
from rich.console import Console

from fmcompress import report
from fmcompress.checkpoint import Checkpoint, obeys
from fmcompress.config import PruneConfig, QuantizeConfig, RunConfig
from fmcompress.errors import ConfigError, in_one_line
from fmcompress.formats import open_checkpoint, storage_of
from fmcompress.pipeline import prepare

FEW = "fewer than the 128 columns of the widest layer"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("notes")
    make_checkpoint(home / "model", hidden=64, dtype=torch.bfloat16)
    make_text(home / "text.txt", 6_000)
    run(home / "model", home / "pruned", home / "text.txt", pattern="2:4")
    return home


def notes_of(model: Path, text: Path | None, config: RunConfig) -> list[str]:
    return prepare(model, config, text, CPU).notes


SHORT: dict[str, Any] = {"sequence_length": 64, "samples": 8}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (PruneConfig(sparsity=0.5, **SHORT), []),
        (PruneConfig(sparsity=0.5, bits=4, format="packed", **SHORT), []),
        (PruneConfig(sparsity=0.5, bits=4, group_size=64, **SHORT), ["zeros save no bytes in compressed-tensors"]),
        (QuantizeConfig(group_size=64, **SHORT), []),
        (QuantizeConfig(group_size=64, symmetric=False, **SHORT), ["CompressedTensorsConfig(dequantize=True)"]),
        (QuantizeConfig(symmetric=False, format="packed", **SHORT), []),
        (PruneConfig(sparsity=0.5, sequence_length=63, samples=2), [f"calibration has 126 tokens, {FEW}"]),
        (PruneConfig(sparsity=0.5, sequence_length=64, samples=2), []),
        (PruneConfig(sparsity=0.5, sequence_length=500, samples=8), ["sequence length 500 lowered to 128"]),
    ],
    ids=str,
)
def test_what_the_form_and_the_text_do_not_give(home: Path, config: RunConfig, expected: list[str]) -> None:
    notes = notes_of(home / "model", home / "text.txt", config)
    assert len(notes) == len(expected)
    assert all(part in note for part, note in zip(expected, notes, strict=True))


def test_formats_are_told_of_without_data_too(home: Path) -> None:
    config = PruneConfig(method="magnitude", sparsity=0.5, bits=4, group_size=64, symmetric=False)
    assert len(notes_of(home / "model", None, config)) == 2


# zeros of a pruned model


def test_zeros_that_would_be_filled_are_told(home: Path) -> None:
    config = QuantizeConfig(group_size=64, **SHORT)
    (note,) = notes_of(home / "pruned", home / "text.txt", config)
    assert note.startswith("about 50 % of the weights are zero already")
    assert "--keep-zeros" in note
    for quiet in (QuantizeConfig(group_size=64, keep_zeros=True, **SHORT), PruneConfig(sparsity=0.6, **SHORT)):
        assert notes_of(home / "pruned", home / "text.txt", quiet) == []
    assert notes_of(home / "pruned", None, QuantizeConfig(method="rtn", group_size=64)) == []


@pytest.mark.parametrize("method", ["gptq", "rtn"])
@pytest.mark.parametrize("form", ["packed", "compressed-tensors", "dense"])
def test_keep_zeros_keeps_the_pattern(home: Path, tmp_path: Path, method: str, form: str) -> None:
    text = home / "text.txt" if method == "gptq" else None
    out = tmp_path / "out"
    facts = run(home / "pruned", out, text, method=method, group_size=64, format=form, keep_zeros=True)
    source, written = Checkpoint(home / "pruned"), open_checkpoint(out)
    for record in facts["layers"]:
        before, after = source.read(record["tensor"]), written.read(record["tensor"])
        assert not after[before == 0].any()
        assert obeys(after, 2, 4)
        assert form != "packed" or storage_of(written, record["tensor"]).kept == "bitmask"
    assert (facts["bits_per_weight"] < 3.7) == (form == "packed")


def test_keep_zeros_by_the_command_line(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["quantize", home / "pruned", tmp_path / "out", "--calibration", home / "text.txt", "--samples", 8]
    arguments += ["--sequence-length", 64, "--format", "packed", "--json", "--quiet"]
    kept = json.loads(invoke(capsys, *arguments, "--keep-zeros").stdout)
    facts = json.loads(invoke(capsys, *arguments, "--force").stdout)
    assert facts["sparsity"] < 0.5 <= kept["sparsity"]
    assert "--keep-zeros" in facts["notes"][0]


# where notes are seen


def test_a_dry_run_tells_them(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("keep me")
    arguments = ["quantize", home / "model", tmp_path / "out", "--calibration", home / "text.txt"]
    arguments += ["--group-size", 64, "--samples", 999, "--sequence-length", 500, "--dry-run"]
    plan = json.loads(invoke(capsys, *arguments, "--json", "--quiet").stdout)
    parts = ["lowered to 128", "fewer than the 999 asked for", "the run itself would be refused: OUT: "]
    assert [part in note for part, note in zip(parts, plan["notes"], strict=True)] == [True] * 3
    assert (plan["format"], plan["out"]) == ("compressed-tensors", str(tmp_path / "out"))
    assert plan["seconds"] > 3  # importing torch and transformers takes as long
    outcome = invoke(capsys, *arguments)
    assert outcome.code == 0
    assert outcome.stderr.splitlines() == plan["notes"]
    assert "(compressed-tensors)" in outcome.stdout
    assert "starting up included" in outcome.stdout
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "mine"]


def test_eval_tells_that_it_lowered_the_length(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["eval", home / "model", "--text", home / "text.txt", "--max-windows", 2]
    outcome = invoke(capsys, *arguments, "--sequence-length", 500)
    assert outcome.stderr == "sequence length 500 lowered to 128, the model's longest\n"
    assert json.loads(invoke(capsys, *arguments, "--json").stdout)["notes"][0].startswith(
        "sequence length 2048 lowered"
    )
    assert invoke(capsys, *arguments, "--sequence-length", 128).stderr == ""


@pytest.mark.parametrize("command", ["eval", "unpack"])
def test_bars_on_a_terminal(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    run(home / "model", tmp_path / "packed", method="rtn", format="packed")
    arguments = {
        "eval": ["eval", tmp_path / "packed", "--text", home / "text.txt", "--sequence-length", 64],
        "unpack": ["unpack", tmp_path / "packed", tmp_path / "dense"],
    }[command]
    screen = io.StringIO()
    monkeypatch.setattr(report, "err", Console(file=screen, force_terminal=True, width=120))
    assert invoke(capsys, *arguments).code == 0
    assert {"eval": "evaluating · block 2/2", "unpack": "unpacking · model."}[command] in screen.getvalue()
    assert "\x1b[" in screen.getvalue()


def test_inspect_tells_how_tensors_are_stored(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "model.layers.0.mlp.up_proj.weight"
    dense = {"format": "dense", "kept": None, "bits": None, "group_size": None, "symmetric": None}
    levels = {"bits": 4, "group_size": 32, "symmetric": False}
    for options, told, spoken in (
        ({"pattern": "2:4", "format": "packed"}, {"format": "packed", "kept": "2:4 places"}, "packed, 2:4 places"),
        ({"sparsity": 0.5, "format": "packed"}, {"format": "packed", "kept": "bitmask"}, "packed, bitmask"),
        ({"format": "packed", **levels}, {"format": "packed", **levels}, "packed, 4-bit g32 asymmetric"),
        ({"format": "packed", "group_size": "row"}, {"group_size": "row", "symmetric": True}, "packed, 4-bit row"),
        ({"format": "compressed-tensors", **levels}, levels, "compressed-tensors, 4-bit g32 asymmetric"),
    ):
        method = "rtn" if "sparsity" not in options and "pattern" not in options else "magnitude"
        out = tmp_path / spoken
        run(home / "model", out, method=method, **options)
        facts = {fact["name"]: fact for fact in json.loads(invoke(capsys, "inspect", out, "--json").stdout)}
        assert facts["lm_head.weight"]["stored"] == dense
        assert facts[name]["stored"].items() >= told.items()
        assert spoken in invoke(capsys, "inspect", out).stdout


# words


def test_one_group_size_for_all_layers(tmp_path: Path) -> None:
    """The widest that divides every layer's columns, not those of the first that does not fit."""
    for columns, advice in {
        (256, 192): r"--group-size 64, which fits all layers, or --format packed",
        (512, 96): r"--group-size 32, which fits all",
        (256, 80): r"--group-size row, --exclude, or --format packed",
    }.items():
        model = make_checkpoint(tmp_path / str(columns), blocks=1, hidden=columns[0])
        config = json.loads((model / "config.json").read_text())
        config["intermediate_size"] = columns[1]
        (model / "config.json").write_text(json.dumps(config))
        with pytest.raises(ConfigError, match=rf"got {columns[1]}; so it is with 1 of 7 layers\. Use {advice}"):
            prepare(model, QuantizeConfig(method="rtn"), None, CPU)


def test_long_reasons_end_with_a_word() -> None:
    assert in_one_line("a\n b  c") == "a b c"
    text = " ".join(["unrecognisable"] * 40)
    short = in_one_line(text)
    assert len(short) <= 300
    assert short.endswith("unrecognisable …")
    assert in_one_line("x" * 400) == "x" * 300 + "…"
