"""Runs that quantize, or that write another form than dense: what comes out, what eval and inspect make of it, options."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from compression import BLOCKS, FORMS, job_of, make_home, run
from helpers import CPU, Outcome, Silent, folder_bytes, invoke

from fmcompress.checkpoint import Checkpoint
from fmcompress.config import QuantizeConfig
from fmcompress.errors import ConfigError
from fmcompress.evaluation import evaluate
from fmcompress.formats import open_checkpoint
from fmcompress.options import resolve
from fmcompress.pipeline import compress_checkpoint, prepare
from fmcompress.report import human_bytes
from fmcompress.workspace import FACTS


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_home(tmp_path_factory.mktemp("quantize"))


@pytest.fixture(scope="module")
def finished(home: Path) -> dict[str, dict[str, bytes]]:
    """The files of the runs, by form."""
    for form in FORMS:
        compress_checkpoint(job_of(home, form), home / form, Silent())
    return {form: folder_bytes(home / form) for form in FORMS}


# what is written


@pytest.mark.parametrize("form", FORMS)
def test_what_is_written(home: Path, finished: dict[str, dict[str, bytes]], form: str) -> None:
    facts, written = json.loads(finished[form][FACTS]), open_checkpoint(home / form)
    source = Checkpoint(home / "model")
    assert written.tensors.keys() == source.tensors.keys()
    solved = {record["tensor"]: record for record in facts["layers"]}
    assert len(solved) == 7 * BLOCKS
    for name in source.tensors:
        before, after = source.read(name), written.read(name)
        assert before.equal(after) == (name not in solved)
        if name in solved:
            assert solved[name]["bits"] == FORMS[form]["bits"]
            assert solved[name]["symmetric"] == FORMS[form].get("symmetric", True)
            assert solved[name]["zeros"] == int((after == 0).sum())
            assert 0 < solved[name]["relative_error"] < 1
    assert facts["format"] == form
    assert facts["bytes_after"] == sum(written.tensors[name].size_bytes for name in solved)
    assert facts["bits_per_weight"] == 8 * facts["bytes_after"] / facts["weights"]
    assert b"## Compressed with fmcompress" in finished[form]["README.md"]
    assert b"bits " in finished[form]["README.md"]


@pytest.mark.parametrize("form", ["packed", "compressed-tensors"])
def test_the_plan_knows_the_size(home: Path, finished: dict[str, dict[str, bytes]], form: str) -> None:
    plan = job_of(home, form).plan
    assert plan.output_bytes == pytest.approx(open_checkpoint(home / form).total_bytes, rel=0.03)
    assert plan.bits == 4


def test_the_plan_counts_zero_points(home: Path, tmp_path: Path) -> None:
    config = QuantizeConfig(method="rtn", bits=8, group_size=2, symmetric=False, format="packed")
    job = prepare(home / "model", config, None, CPU)
    compress_checkpoint(job, tmp_path / "out", Silent())
    assert job.plan.output_bytes == open_checkpoint(tmp_path / "out").total_bytes


def test_a_card_has_a_note_of_every_change(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, options in enumerate([{"sparsity": 0.5}, {"sparsity": 0.5}, {"bits": 4, "group_size": 32}]):
        source = tmp_path / str(number - 1) if number else home / "model"
        method = "magnitude" if "sparsity" in options else "rtn"
        run(source, tmp_path / str(number), method=method, **options)
    card = (tmp_path / "2" / "README.md").read_text()
    assert card.count("## Compressed with fmcompress") == 1
    assert card.count("(method magnitude, sparsity 0.5)") == 2
    assert card.count("(method rtn, bits 4, group_size 32)") == 1
    assert card.startswith("# A model\n")
    # a user's section below ours is not about us
    (tmp_path / "1" / "README.md").write_text(card + "\n# License\n\nMIT\n")
    run(tmp_path / "1", tmp_path / "3", method="rtn", group_size=32)
    assert (tmp_path / "3" / "README.md").read_text().count("## Compressed with fmcompress") == 2


def test_a_killed_run_writes_its_note_once(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(home / "model", tmp_path / "out", method="magnitude", sparsity=0.5)
    run(home / "model", tmp_path / "out", method="magnitude", sparsity=0.5, resume=True)
    assert (tmp_path / "out" / "README.md").read_text().count("sparsity 0.5") == 1


def test_levels_of_a_row(home: Path, finished: dict[str, dict[str, bytes]]) -> None:
    """3 bits a row: no row of a dense output has more than eight values."""
    name = "model.layers.1.mlp.up_proj.weight"
    assert all(len(row.unique()) <= 8 for row in Checkpoint(home / "dense").read(name))
    assert any(len(row.unique()) > 8 for row in Checkpoint(home / "model").read(name))


@pytest.mark.parametrize("form", FORMS)
def test_eval_and_inspect(
    home: Path, tmp_path: Path, finished: dict[str, dict[str, bytes]], capsys: pytest.CaptureFixture[str], form: str
) -> None:
    run(home / "model", tmp_path / "dense", home / "text.txt", **{**FORMS[form], "format": "dense"})
    facts = {fact["name"]: fact for fact in json.loads(invoke(capsys, "inspect", home / form, "--json").stdout)}
    plain = {fact["name"]: fact for fact in json.loads(invoke(capsys, "inspect", tmp_path / "dense", "--json").stdout)}
    stored = {"size_bytes": 0, "bits_per_weight": 0, "stored": {}}
    for name in plain:
        assert {**plain[name], **stored} == {**facts[name], **stored}
        assert facts[name]["bits_per_weight"] == 8 * facts[name]["size_bytes"] / facts[name]["size"]
    assert sum(fact["size_bytes"] for fact in facts.values()) == open_checkpoint(home / form).total_bytes
    measured = evaluate(home / form, home / "text.txt", 64, CPU, max_windows=4)
    assert measured == evaluate(tmp_path / "dense", home / "text.txt", 64, CPU, max_windows=4)


# options


def refused(outcome: Outcome, message: str) -> None:
    assert outcome.code == 2, outcome.stderr
    assert outcome.stderr.startswith("error: ")
    assert outcome.stderr.count("\n") == 1
    assert message in outcome.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["quantize", "--bits", 5], "bits: expected 2, 3, 4 or 8"),
        (["quantize", "--group-size", "0"], "group-size: expected a number of columns such as 128, or row"),
        (["quantize", "--group-size", "column"], "group-size: expected a number of columns such as 128, or row"),
        (["quantize", "--format", "gguf"], "format: expected 'dense', 'compressed-tensors' or 'packed'"),
        (["quantize", "--method", "magnitude"], "method: expected 'gptq' or 'rtn'"),
        (["quantize", "--group-size", 3_000_000_000], "group-size: expected at most 2147483648 columns, or row"),
        (["prune", "--sparsity", 0.5, "--group-size", 64], "group-size: nothing is quantized. Add --bits 4."),
        (["prune", "--sparsity", 0.5, "--asymmetric"], "symmetric: nothing is quantized. Add --bits 4."),
        (["prune", "--sparsity", 0.5, "--clip-search"], "clip-search: nothing is quantized. Add --bits 4."),
        (["quantize", "--method", "rtn"], "calibration: this method looks at no data"),
        (["prune", "--sparsity", 0.5, "--format", "compressed-tensors"], "Add --bits 4, or use --format packed"),
        (["prune", "--sparsity", 0.5, "--bits", 4, "--group-size", 48], "multiple of the group size 48"),
        (["prune", "--pattern", "2:4", "--bits", 4, "--group-size", 30], "multiple of 4, one group of 2:4"),
        (["prune", "--pattern", "2:4", "--bits", 4, "--activation-order"], "scatter the groups of 2:4"),
    ],
)
def test_bad_options(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[Any], message: str
) -> None:
    command, *options = arguments
    calibration = ["--calibration", home / "text.txt", "--sequence-length", 64, "--samples", 4]
    refused(invoke(capsys, command, home / "model", tmp_path / "out", *options, *calibration), message)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "symmetric"), [("asymmetric: true", False), ("asymmetric: false", True), ("symmetric: false", False)]
)
def test_either_name_of_symmetry_in_a_file(tmp_path: Path, text: str, symmetric: bool) -> None:
    (tmp_path / "options.yaml").write_text(text)
    assert resolve(QuantizeConfig, tmp_path / "options.yaml").symmetric is symmetric
    assert resolve(QuantizeConfig, tmp_path / "options.yaml", symmetric=True).symmetric


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "asymmetry: true",
            "asymmetry: no such option. Known: bits, group-size, symmetric, .*, keep-zeros, asymmetric",
        ),
        ("asymmetric: 1", "asymmetric: expected true or false"),
        ("asymmetric: true\nsymmetric: true", "asymmetric: expected true or false, and no symmetric beside it"),
    ],
)
def test_options_of_a_file_that_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "options.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        resolve(QuantizeConfig, tmp_path / "options.yaml")


def test_the_command_line(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "options.yaml").write_text("bits: 3\ngroup-size: 64\nsymmetric: false\nformat: packed\nmethod: rtn\n")
    flags = ["--config", tmp_path / "options.yaml", "--group-size", "row", "--symmetric"]
    plan = json.loads(
        invoke(capsys, "quantize", home / "model", tmp_path / "out", *flags, "--dry-run", "--json").stdout
    )
    assert plan["bits"] == 3
    assert not (tmp_path / "out").exists()
    shown = invoke(capsys, "quantize", home / "model", tmp_path / "out", *flags, "--dry-run")
    assert "to 3 bits" in shown.stdout
    outcome = invoke(capsys, "quantize", home / "model", tmp_path / "out", *flags)
    assert outcome.code == 0, outcome.stderr
    assert "(packed)" in outcome.stdout
    source, written = Checkpoint(home / "model"), open_checkpoint(tmp_path / "out")
    before, after = human_bytes(source.total_bytes), human_bytes(written.total_bytes)
    shape = rf"out \(packed\): {before} → {after} · 3\.\d\d bits a weight · [\d.]+ % of .* weights are zero, checked on"
    assert re.search(shape, outcome.stdout)
    assert "transformers does not load packed weights: fmcompress generate" in outcome.stdout
    facts = json.loads((tmp_path / "out" / FACTS).read_text())
    assert facts["checkpoint_bytes_before"] - facts["checkpoint_bytes_after"] == (
        facts["bytes_before"] - facts["bytes_after"]
    )
    assert facts["checkpoint_bytes_before"] == source.total_bytes
    chosen = {key: facts["config"][key] for key in ("bits", "group_size", "symmetric", "format", "method")}
    assert chosen == {"bits": 3, "group_size": "row", "symmetric": True, "format": "packed", "method": "rtn"}
    shutil.rmtree(tmp_path / "out")
    arguments = ["--method", "magnitude", "--sparsity", 0.5, "--bits", 4, "--group-size", "32", "--format", "packed"]
    outcome = invoke(capsys, "prune", home / "model", tmp_path / "out", *arguments, "--json", "--quiet")
    assert json.loads(outcome.stdout)["bits_per_weight"] < 3.7
    assert outcome.stderr == ""
