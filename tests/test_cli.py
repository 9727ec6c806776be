"""The command line: what it prints, what it refuses in one red line, and that it then leaves nothing behind."""

import errno
import json
import os
import re
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import DEMO, Outcome, folder_bytes, invoke, make_checkpoint, make_text, run_cli
from safetensors.torch import load_file, save_file

import fmcompress
from fmcompress.checkpoint import Checkpoint
from fmcompress.checkpoint.layout import INDEX

Run = Callable[..., Outcome]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("cli")
    make_checkpoint(home / "model", blocks=2, shards=3)
    make_text(home / "text.txt", 5_000)
    return home


@pytest.fixture
def model(home: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(home / "model", tmp_path / "model"))


@pytest.fixture
def run(home: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Prune `model` to `out` with a short text; arguments are added."""

    def prune(*args: object, out: Path = tmp_path / "out", calibration: Path | None = None) -> Outcome:
        text = calibration or home / "text.txt"
        return invoke(
            capsys, "prune", model, out, "--calibration", text, "--sequence-length", 64, "--samples", 8, *args
        )

    return prune


def assert_refused(outcome: Outcome, message: str, code: int = 2) -> None:
    """Exactly one line on standard error, nothing on standard output."""
    assert outcome.code == code, outcome.stderr
    assert outcome.stdout == ""
    assert re.fullmatch(r"error: [^\n]+\n", outcome.stderr), outcome.stderr
    assert re.search(message, outcome.stderr), outcome.stderr


def assert_nothing_left(tmp_path: Path) -> None:
    assert not list(tmp_path.glob("out*"))


def missing_shard(model: Path) -> None:
    Checkpoint(model).shards[1].unlink()


def corrupt_shard(model: Path) -> None:
    path = Checkpoint(model).shards[1]
    path.write_bytes(path.read_bytes()[:8] + b"\x00" * 40 + path.read_bytes()[48:])


def truncated_shard(model: Path) -> None:
    path = Checkpoint(model).shards[-1]
    path.write_bytes(path.read_bytes()[:-100])


def absent_tensor(model: Path) -> None:
    index = json.loads((model / INDEX).read_text())
    index["weight_map"]["model.ghost.weight"] = index["weight_map"]["model.norm.weight"]
    (model / INDEX).write_text(json.dumps(index))


def not_a_number(model: Path) -> None:
    path = Checkpoint(model).tensors["model.layers.1.mlp.up_proj.weight"].path
    tensors = load_file(path)
    tensors["model.layers.1.mlp.up_proj.weight"][3, 4] = torch.nan
    save_file(tensors, path, metadata={"format": "pt"})


def unknown_architecture(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "model_type": "never_heard_of"}))


def other_size(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "intermediate_size": 80}))


def no_config(model: Path) -> None:
    (model / "config.json").unlink()


def no_tokenizer(model: Path) -> None:
    (model / "tokenizer.json").unlink()


DAMAGES: dict[Callable[[Path], None], str] = {
    missing_shard: r"model-00002-of-\d+\.safetensors: no such file",
    corrupt_shard: r"model-00002-of-\d+\.safetensors: the safetensors header is not",
    truncated_shard: r"safetensors: cut short: expected \d+ bytes, got \d+",
    absent_tensor: r"names 1 absent tensor\(s\), first 'model\.ghost\.weight'",
    not_a_number: r"model\.layers\.1\.mlp\.up_proj\.weight: holds inf or NaN",
    unknown_architecture: "unknown architecture",
    other_size: r"expected shape \[80, 32\] by config\.json",
    no_config: r"holds no config\.json",
    no_tokenizer: "its tokenizer does not load",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damaged_models(run: Run, model: Path, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    damage(model)
    assert_refused(run("--sparsity", 0.5), DAMAGES[damage])
    assert_nothing_left(tmp_path)


OPTIONS: dict[str, tuple[list[object], str]] = {
    "neither": ([], "say how much to prune: --sparsity 0.5 or --pattern 2:4"),
    "both": (["--sparsity", 0.5, "--pattern", "2:4"], "not sparsity and pattern"),
    "3:2": (["--pattern", "3:2"], "pattern 3:2: expected 1 <= N <= M"),
    "0:4": (["--pattern", "0:4"], "pattern 0:4: expected 1 <= N <= M"),
    "no pattern": (["--pattern", "half"], "expected N:M such as 2:4"),
    "does not divide": (["--pattern", "2:5"], r"q_proj\.weight: pattern 2:5"),
    "group wider than block": (["--pattern", "2:4", "--block-size", 2], "block size"),
    "sparsity 1.5": (["--sparsity", 1.5], "^error: sparsity: .*less than or equal to 1"),
    "sparsity nan": (["--sparsity", "nan"], "^error: sparsity: "),
    "method": (["--sparsity", 0.5, "--method", "magic"], "^error: method: "),
    "mask scope": (["--sparsity", 0.5, "--mask-scope", "column"], "^error: mask-scope: "),
    "damping": (["--sparsity", 0.5, "--damping", -1], "^error: damping: "),
    "samples": (["--sparsity", 0.5, "--samples", 0], "^error: samples: "),
    "length": (["--sparsity", 0.5, "--sequence-length", 1], "^error: sequence-length: "),
    "dtype": (["--sparsity", 0.5, "--dtype", "int8"], "^error: dtype: "),
    "device": (["--sparsity", 0.5, "--device", "toaster"], "device: 'toaster' cannot be used"),
    "no cuda": (["--sparsity", 0.5, "--device", "cuda:99"], "device: 'cuda:99' cannot be used"),
    "nothing matched": (["--sparsity", 0.5, "--include", "convolution"], "no linear layers matched"),
    "all excluded": (["--sparsity", 0.5, "--exclude", "weight"], "no linear layers matched"),
    "bad regex": (["--sparsity", 0.5, "--include", "["], r"--include: '\[' is no regular expression"),
    "no YAML": (["--config", "nowhere.yaml"], r"nowhere\.yaml: cannot be read as YAML"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_bad_options(run: Run, tmp_path: Path, case: str) -> None:
    arguments, message = OPTIONS[case]
    assert_refused(run(*arguments), message)
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sparsity: 0.5\nspeed: 9", "^error: speed: no such option"),
        ("sparsity: half", "^error: sparsity: "),
        ("- sparsity", "expected keys and values"),
        ("sparsity: [", "cannot be read as YAML"),
        ("pattern: 2:4", "pattern: .*quotes"),  # YAML reads it as base 60: 124
        ("1: 2", "options.yaml|Extra|expected"),
        ("!!python/object/apply:os.system [exit]", "cannot be read as YAML"),
        ("sparsity: \xff", "options.yaml"),
    ],
)
def test_bad_yaml(run: Run, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "options.yaml").write_bytes(text.encode("latin-1"))
    assert_refused(run("--config", tmp_path / "options.yaml"), message)
    assert_nothing_left(tmp_path)


def test_yaml_and_flags(run: Run, tmp_path: Path) -> None:
    (tmp_path / "options.yaml").write_text("sparsity: 0.25\nmask_scope: row\nsamples: 3\n")
    facts = json.loads(run("--config", tmp_path / "options.yaml", "--damping", 0.5, "--json").stdout)
    assert facts["sparsity"] == 0.25
    assert {key: facts["config"][key] for key in ("mask_scope", "samples", "damping")} == {
        "mask_scope": "row",
        "samples": 8,  # the flag wins
        "damping": 0.5,
    }


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("short.txt", "too short", r"short\.txt: \d+ tokens, shorter than one sequence of 64"),
        ("empty.txt", "", r"empty\.txt: 0 tokens"),
        ("a.jsonl", "{}", "line 1: expected a JSON object"),
        ("a.pdf", "x", "expected a file ending in"),
        ("none.txt", None, r"none\.txt: no such file"),
    ],
)
def test_bad_calibration(run: Run, tmp_path: Path, name: str, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    assert_refused(run("--sparsity", 0.5, calibration=tmp_path / name), message)
    assert_nothing_left(tmp_path)


def test_no_calibration(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert_refused(invoke(capsys, "prune", model, tmp_path / "out", "--sparsity", 0.5), "this method needs text")
    assert_nothing_left(tmp_path)


def test_out_must_be_elsewhere_and_new(run: Run, model: Path, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine").write_text("keep me")
    before = folder_bytes(tmp_path)
    for out, message in {
        full: "is not empty",
        full / "mine": "is a file",
        model: "lie inside each other",
        model / "out": "lie inside each other",
        tmp_path: "lie inside each other",
        tmp_path / "no" / "where": "is no folder",
    }.items():
        assert_refused(run("--sparsity", 0.5, out=out), message)
        assert_refused(run("--sparsity", 0.5, "--resume", out=out), message)
    (tmp_path / "link").symlink_to(model)
    assert_refused(run("--sparsity", 0.5, out=tmp_path / "link"), "lie inside each other")
    (tmp_path / "link").unlink()
    assert folder_bytes(tmp_path) == before


@pytest.mark.parametrize("flags", [["--force"], ["--resume"], []])
def test_model_that_lies_where_the_partial_folder_would(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    """--force clears OUT.partial: it must never be the model."""
    model = Path(shutil.copytree(home / "model", tmp_path / "out.partial"))
    arguments = ["prune", model, tmp_path / "out", "--sparsity", 0.5, "--method", "magnitude", *flags]
    assert_refused(invoke(capsys, *arguments), "OUT: ")
    assert folder_bytes(model) == folder_bytes(home / "model")


@pytest.mark.parametrize("out", [".", "..", "/"])
def test_out_without_a_name(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    if out == ".":
        (tmp_path / "here" / "mine").write_text("keep me")
    assert_refused(run("--sparsity", 0.5, out=Path(out)), "OUT: ")


def test_out_may_be_an_empty_folder(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert run("--sparsity", 0.5).code == 0
    assert (tmp_path / "out" / "fmcompress.json").exists()


def test_out_may_be_a_link_to_an_empty_folder(run: Run, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    outcome = run("--sparsity", 0.5)
    assert outcome.code in (0, 2), outcome.stderr
    if outcome.code == 0:
        assert (tmp_path / "out" / "fmcompress.json").exists()
    else:
        assert not list(tmp_path.glob("*.partial"))


def test_force_replaces(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("old")
    assert_refused(run("--sparsity", 0.5, "--force"), "holds no checkpoint, so --force leaves it alone")
    (tmp_path / "out" / "config.json").write_text("{}")
    assert run("--sparsity", 0.5, "--force").code == 0
    assert not (tmp_path / "out" / "old").exists()
    assert not (tmp_path / "out.partial").exists()


Usage = namedtuple("Usage", "total used free")


def test_disk_too_small(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1000, 990, 10))
    assert_refused(run("--sparsity", 0.5), r"\d+ bytes needed, 10 free on this disk")
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize("files", [0, 2])
def test_disk_fills_up_while_copying(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: int) -> None:
    real, count = shutil.copyfile, 0

    def copyfile(source: Any, target: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        if count > files:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        return real(source, target, **kwargs)

    monkeypatch.setattr(shutil, "copyfile", copyfile)
    assert_refused(run("--sparsity", 0.5), "the disk is full")
    assert_nothing_left(tmp_path)


def test_failure_of_the_program_itself(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("of its own\nmaking [red]")

    monkeypatch.setattr("fmcompress.formats.output.verify_checkpoint", fail)
    assert_refused(run("--sparsity", 0.5, "--quiet"), r"ZeroDivisionError: of its own making \[red\]", code=1)


def test_debug_shows_the_traceback(run: Run) -> None:
    with pytest.raises(fmcompress.errors.ConfigError):
        run("--debug")


def test_messages_are_not_markup(run: Run, tmp_path: Path) -> None:
    assert_refused(run("--sparsity", 0.5, calibration=tmp_path / "[bold]a[/bold] [/red].txt"), r"\[bold\]a\[/bold\]")


def test_the_line_is_red_on_a_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from fmcompress.report import err

    monkeypatch.setattr(err, "_force_terminal", True)
    monkeypatch.setattr(err, "_color_system", 1)
    monkeypatch.delenv("NO_COLOR", raising=False)
    err.no_color = False
    assert run("--pattern", "3:2").stderr.startswith("\x1b[31merror: pattern")


def test_json_facts(run: Run, tmp_path: Path) -> None:
    outcome = run("--pattern", "2:4", "--json", "--quiet")
    assert outcome.code == 0
    assert outcome.stderr == ""
    facts = json.loads(outcome.stdout)
    assert facts["sparsity"] == 0.5
    assert len(facts["layers"]) == 14
    assert facts["out"] == str(tmp_path / "out")
    assert facts["seconds"] > 0
    assert facts["peak_memory_bytes"] > 1 << 20


def test_plain_output(run: Run) -> None:
    outcome = run("--sparsity", 0.5)
    lines = [line for line in outcome.stderr.splitlines() if line.startswith("block ")]
    assert len(lines) == 14
    assert re.match(
        r"block 1/2 · model\.layers\.0\.self_attn\.q_proj\.weight · 50\.00 % zeros · err 0\.\d{4}", lines[0]
    )
    assert re.search(r"50\.00 % of [\d,]+ weights are zero, checked on disk · [\d.]+ s · peak memory", outcome.stdout)


@pytest.mark.parametrize("json_flag", [[], ["--json"]])
def test_dry_run_writes_nothing(run: Run, model: Path, tmp_path: Path, json_flag: list[str]) -> None:
    before = folder_bytes(tmp_path)
    outcome = run("--sparsity", 0.5, "--dry-run", *json_flag)
    assert outcome.code == 0
    assert folder_bytes(tmp_path) == before
    if json_flag:
        plan = json.loads(outcome.stdout)
        assert (plan["blocks"], plan["layers"], plan["tokens"]) == (2, 14, 8 * 64)
        assert plan["zeros"] * 2 == plan["weights"]
        assert plan["output_bytes"] == Checkpoint(model).total_bytes
    else:
        for word in ("weights to prune", "calibration tokens", "time", "memory: peak", "tensors on disk"):
            assert word in outcome.stdout


def test_inspect(run: Run, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("--pattern", "2:4")
    facts = {fact["name"]: fact for fact in json.loads(invoke(capsys, "inspect", tmp_path / "out", "--json").stdout)}
    assert facts.keys() == Checkpoint(model).tensors.keys()
    assert all((fact["pattern"] == "2:4") == name.endswith("_proj.weight") for name, fact in facts.items())
    assert facts["model.layers.0.mlp.up_proj.weight"] == {
        "name": "model.layers.0.mlp.up_proj.weight",
        "shape": [64, 32],
        "dtype": "float32",
        "zeros": 1024,
        "size": 2048,
        "size_bytes": 8192,
        "pattern": "2:4",
        "sparsity": 0.5,
        "bits_per_weight": 32,
        "stored": {"format": "dense", "kept": None, "bits": None, "group_size": None, "symmetric": None},
    }
    outcome = invoke(capsys, "inspect", tmp_path / "out")
    assert outcome.code == 0
    assert "2:4" in outcome.stdout
    assert "50.00 %" in outcome.stdout
    assert_refused(invoke(capsys, "inspect", tmp_path / "nowhere"), "no such folder")


def test_inspect_needs_no_config(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file({"anything": torch.zeros(3, 4, dtype=torch.int8)}, tmp_path / "model.safetensors")
    (fact,) = json.loads(invoke(capsys, "inspect", tmp_path, "--json").stdout)
    assert (fact["dtype"], fact["zeros"]) == ("int8", 12)


FLOATS = {"quant_method": "compressed-tensors", "format": "float-quantized", "config_groups": {"group_0": {}}}


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (json.dumps({"quantization_config": FLOATS}), "its quantization_config is not read here"),
        ("{", r"config\.json: not valid JSON"),
    ],
    ids=["FP8", "broken config"],
)
def test_inspect_lists_what_it_cannot_decode(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], config: str, reason: str
) -> None:
    tensors = {"l.0.weight": torch.ones(4, 8).to(torch.float8_e4m3fn), "l.0.weight_scale": torch.ones(4, 1)}
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(config)
    outcome = invoke(capsys, "inspect", tmp_path, "--json")
    assert outcome.code == 0, outcome.stderr
    assert {fact["name"]: fact["dtype"] for fact in json.loads(outcome.stdout)} == {
        "l.0.weight": "float8_e4m3fn",
        "l.0.weight_scale": "float32",
    }
    assert re.fullmatch(rf"listed as stored, not decoded: .*{reason}[^\n]*\n", outcome.stderr)
    assert "l.0.weight_scale" in invoke(capsys, "inspect", tmp_path).stdout


def test_env(capsys: pytest.CaptureFixture[str]) -> None:
    facts = json.loads(invoke(capsys, "env", "--json").stdout)
    assert facts["versions"]["torch"] == torch.__version__
    assert facts["versions"]["fmcompress"] == fmcompress.__version__
    assert facts["threads"] >= 1
    assert all("reference" in names for names in facts["ops"].values())
    outcome = invoke(capsys, "env")
    assert outcome.code == 0
    for word in ("fmcompress", "torch", "native", "reference", *facts["ops"]):
        assert word in outcome.stdout


def test_eval(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = make_text(tmp_path / "held.txt", 3_000, "heldout")
    arguments = ["eval", DEMO / "model", "--text", text, "--sequence-length", 64, "--max-windows", 4]
    facts = json.loads(invoke(capsys, *arguments, "--json").stdout)
    assert 1 < facts["perplexity"] < 200
    assert (facts["windows"], facts["predicted_tokens"], facts["sequence_length"]) == (4, 4 * 63, 64)
    outcome = invoke(capsys, *arguments)
    assert re.fullmatch(r"perplexity [\d.]+ · sequence length 64 · 252 predicted tokens in 4 windows\n", outcome.stdout)
    assert f"{facts['perplexity']:.4f}" in outcome.stdout
    for extra, message in {
        ("--text", tmp_path / "no.txt"): "no such file",
        ("--sequence-length", 512): "shorter than one sequence" if len(text.read_text()) < 1000 else "",
        ("--device", "toaster"): "cannot be used here",
        ("--dtype", "int8"): "dtype",
        ("--dtype", "nonsense"): "dtype",
    }.items():
        if message:
            assert_refused(invoke(capsys, *arguments, *extra), message)


@pytest.mark.parametrize("length", [-3, 0, 1])
def test_eval_needs_two_tokens(home: Path, capsys: pytest.CaptureFixture[str], length: int) -> None:
    outcome = invoke(capsys, "eval", home / "model", "--text", home / "text.txt", "--sequence-length", length)
    assert outcome.code == 2
    assert "sequence" in outcome.stderr


def test_infinite_perplexity_is_still_json(home: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    model = Path(shutil.copytree(home / "model", tmp_path / "model"))
    path = Checkpoint(model).tensors["lm_head.weight"].path
    tensors = load_file(path)
    tensors["lm_head.weight"] *= 1e6
    save_file(tensors, path, metadata={"format": "pt"})
    outcome = invoke(capsys, "eval", model, "--text", home / "text.txt", "--sequence-length", 64, "--json")
    assert outcome.code == 0, outcome.stderr
    json.loads(outcome.stdout, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_eval_of_a_broken_model(model: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    not_a_number(model)
    outcome = invoke(capsys, "eval", model, "--text", home / "text.txt", "--sequence-length", 64)
    assert outcome.code == 2, outcome.stdout  # not an infinite perplexity


def test_as_a_program(home: Path, tmp_path: Path) -> None:
    """One run each of the real program, whose standard error is no terminal."""
    done = run_cli("prune", home / "model", tmp_path / "out", "--sparsity", 0.5, "--method", "magnitude", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["sparsity"] == 0.5
    failed = run_cli("prune", tmp_path / "nowhere", tmp_path / "other", "--sparsity", 0.5)
    assert_refused(Outcome(failed.returncode, failed.stdout, failed.stderr), "no such folder")


def test_gradients_ratio(capsys):
    told = json.loads(invoke(capsys, "gradients", "ratio", "1.3B", "--workers", 8, "--json").stdout)
    assert told["parameters"] == 1_300_000_000
    assert told["ratio"] > 88
    assert [row["bits_per_second"] for row in told["seconds"]] == [1e8, 5e8, 1e9, 1e10]
    shown = invoke(capsys, "gradients", "ratio", "1.3B", "--bandwidth", "500M")
    assert "at 500 Mbit/s" in shown.stdout
    for args in (["nonsense"], ["7B", "--bits", 9], ["7B", "--bandwidth", "10Q"], ["7B", "--vs", "int8"]):
        refused = invoke(capsys, "gradients", "ratio", *args)
        assert refused.code == 2
        assert len(refused.stderr.strip().splitlines()) == 1


def test_gradients_bench(capsys):
    small = ["gradients", "bench", "--numel", "20K", "--runs", 2, "--threads", 1]
    told = json.loads(invoke(capsys, *small, "--model", "1.3B", "--workers", 8, "--json").stdout)
    names = ["copy", "finite", "compress_gradient_", "compress_delta_", "compress_mean_", "zero_", "add_payload_"]
    assert list(told["ops"]) == names
    assert all(row["seconds"] > 0 and row["bytes"] > 0 for row in told["ops"].values())
    assert (told["numel"], told["threads"], told["parameters"]) == (20_000, 1, 1_300_000_000)
    assert told["dense_bytes"] > 88 * told["compressed_bytes"]
    for step in told["steps"].values():
        saved = told["dense_bytes"] - told["compressed_bytes"]
        assert step["break_even_bits_per_second"] * step["seconds"] == pytest.approx(8 * saved)
    shown = invoke(capsys, *small).stdout
    assert all(re.search(rf"^{name}\b.* %$", shown, re.MULTILINE) for name in names)
    assert "a step of 20,000 parameters" in shown
    assert re.search(r"^cocktail_hook .* Mbit/s$", shown, re.MULTILINE)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--numel", "many"], "a number such as 1.3B"),
        (["--numel", "0.1"], "numel: expected 1 to"),
        (["--numel", "1000B"], "numel: .* free. Lower it"),
        (["--runs", 0], "runs: expected 1 to"),
        (["--threads", 0], "threads: expected 1 to"),
        (["--workers", 5000], "workers: expected 1 to"),
        (["--bits", 9], "bits"),
        (["--block", 100], "block"),
        (["--random-fraction", 0], "random_fraction"),
        (["--vs", "int8"], "vs: expected"),
        (["--model", "nowhere"], "no such folder"),
        (["--device", "nonsense"], "device: 'nonsense'"),
    ],
)
def test_gradients_bench_refuses_in_one_line(capsys, args, message):
    before = torch.get_num_threads()
    assert_refused(invoke(capsys, "gradients", "bench", "--numel", "20K", *args), message)
    assert torch.get_num_threads() == before
