"""What a merge writes: files, config, card and facts; nothing that looks finished before it is."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import ROOT, invoke
from merging_cases import all_tensors, assert_same_bits, random_tensors, run_merge, write_model

from fmcompress.checkpoint.layout import INDEX, read_header_text
from fmcompress.errors import CheckpointError, ConfigError, DiskError
from fmcompress.merging import merge_checkpoints, plan_merge, recipe_of


def pair(tmp_path: Path, shards: int = 3, **config: Any) -> list[Path]:
    models = [write_model(tmp_path / f"m{n}", random_tensors(n), shards, **config) for n in range(2)]
    (models[0] / "README.md").write_text("# A model\n\nGood.\n")
    (models[0] / "tokenizer.json").write_text('{"model": {"vocab": {}}}')
    (models[0] / "fmcompress.json").write_text('{"sparsity": 0.5}')
    return models


def recipe(models: list[Path], **fields: Any) -> Any:
    return recipe_of({"models": [{"model": str(m)} for m in models], "merge_method": "uniform", **fields})


def test_files_are_those_of_the_first_model(tmp_path: Path) -> None:
    models = pair(tmp_path)
    out = tmp_path / "out"
    run_merge(out, "uniform", models)
    kept = {path.name for path in models[0].iterdir()} - {"fmcompress.json"}  # what was done to that one alone
    assert {path.name for path in out.iterdir()} == kept | {"fmcompress-merge.json"}
    for path in models[0].glob("*.safetensors"):
        assert read_header_text(out / path.name) == read_header_text(path)
    for name in (INDEX, "config.json", "tokenizer.json"):
        assert (out / name).read_bytes() == (models[0] / name).read_bytes()
    card = (out / "README.md").read_text()
    assert card.startswith("# A model\n\nGood.\n\n## Merged with fmcompress\n\n")
    assert "(uniform of m0, m1)" in card
    facts = json.loads((out / "fmcompress-merge.json").read_text())
    assert [one["model"] for one in facts["sources"]] == ["m0", "m1"]
    assert len({one["digest"] for one in facts["sources"]}) == 2
    assert str(tmp_path) not in json.dumps(facts) + card  # no place on this machine
    assert not list(tmp_path.glob("*.partial"))


def test_another_dtype_changes_headers_index_and_config(tmp_path: Path) -> None:
    models = pair(tmp_path, text_config={"torch_dtype": "float32", "hidden_size": 16}, other={"dtype": "kept"})
    got = run_merge(tmp_path / "out", "uniform", models, out_dtype="bfloat16")
    assert {tensor.dtype for tensor in got.values()} == {torch.bfloat16, torch.int64}
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["dtype"], config["text_config"]["torch_dtype"]) == ("bfloat16", "bfloat16")
    assert config["other"] == {"dtype": "kept"}
    index = json.loads((tmp_path / "out" / INDEX).read_text())
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in got.values())
    wanted = json.loads((models[0] / INDEX).read_text())["weight_map"]
    assert index["weight_map"] == wanted


def test_progress_is_told_in_bytes_and_threads_are_as_before(tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    plan = plan_merge(recipe(pair(tmp_path)))
    assert [one.written for one in plan.tensors] == sorted(
        (one.written for one in plan.tensors), key=lambda entry: (entry.path, entry.offset, entry.size_bytes)
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        merge_checkpoints(plan, tmp_path / "out", progress=lambda *step: told.append(step))
        assert torch.get_num_threads() == 3  # a merge uses one an op
    finally:
        torch.set_num_threads(threads)
    total = sum(tensor.nbytes for tensor in random_tensors(0).values())
    done = [step[0] for step in told]
    assert done == sorted(done)
    assert (done[-1], {step[1] for step in told}) == (total, {total})
    assert {step[2] for step in told} == {name for name, tensor in random_tensors(0).items() if tensor.numel()}


def test_out_that_is_taken(tmp_path: Path) -> None:
    models = pair(tmp_path)
    run_merge(tmp_path / "out", "uniform", models[:1])
    with pytest.raises(ConfigError, match=r"is not empty\. Choose another folder, or --force"):
        run_merge(tmp_path / "out", "uniform", models)
    merge_checkpoints(plan_merge(recipe(models)), tmp_path / "out", force=True)
    assert_same_bits(all_tensors(tmp_path / "out"), run_merge(tmp_path / "fresh", "uniform", models))
    for inside in (models[1] / "out", models[1], tmp_path):
        with pytest.raises(ConfigError, match="lie inside each other"):
            merge_checkpoints(plan_merge(recipe(models)), inside, force=True)
    with pytest.raises(ConfigError, match="is no folder"):
        run_merge(tmp_path / "none" / "out", "uniform", models)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "diary.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds no checkpoint, so --force leaves it alone"):
        merge_checkpoints(plan_merge(recipe(models)), tmp_path / "own", force=True)


def test_what_an_interrupted_merge_left(tmp_path: Path) -> None:
    models = pair(tmp_path)
    (tmp_path / "out.partial" / "output").mkdir(parents=True)
    (tmp_path / "out.partial" / "output" / "model.safetensors").write_text("half")
    with pytest.raises(ConfigError, match="left from an interrupted run"):
        run_merge(tmp_path / "out", "uniform", models)
    merge_checkpoints(plan_merge(recipe(models)), tmp_path / "out", force=True)
    assert not (tmp_path / "out.partial").exists()
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_a_full_disk_is_told_before_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_merge(recipe(pair(tmp_path)))
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": plan.written_bytes - 1}))
    with pytest.raises(CheckpointError, match="bytes needed"):
        merge_checkpoints(plan, tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("fails", ["pwrite", "fsync", "preadv", "rename"])
def test_an_error_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    plan = plan_merge(recipe(pair(tmp_path)))
    calls = {"left": 3}
    plain = getattr(os, fails)

    def failing(*args: Any) -> Any:
        calls["left"] -= 1
        if calls["left"] < 0 or fails == "rename":
            raise OSError(28, "No space left on device")
        return plain(*args)

    monkeypatch.setattr(os, fails, failing)
    with pytest.raises(DiskError):
        merge_checkpoints(plan, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_short_reads_and_writes_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = pair(tmp_path)
    wanted = run_merge(tmp_path / "plain", "uniform", models)
    read, write = os.preadv, os.pwrite
    monkeypatch.setattr(os, "preadv", lambda handle, views, at: read(handle, [views[0][:1000]], at))
    monkeypatch.setattr(os, "pwrite", lambda handle, view, at: write(handle, view[:700], at))
    assert_same_bits(run_merge(tmp_path / "out", "uniform", models), wanted)


def test_few_files_are_open_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = pair(tmp_path, shards=11)
    handles, opened, closed = set[int](), os.open, os.close
    most = [0]

    def counted(*args: Any, **options: Any) -> int:
        handle = opened(*args, **options)
        handles.add(handle)
        most[0] = max(most[0], len(handles))
        return handle

    def uncounted(handle: int) -> None:
        handles.discard(handle)
        closed(handle)

    monkeypatch.setattr(os, "open", counted)
    monkeypatch.setattr(os, "close", uncounted)
    run_merge(tmp_path / "out", "uniform", models)
    assert 0 < most[0] <= 2 + 2 * 3  # the lock, one that is synced, and of each thread two inputs and an output
    assert not handles


def test_a_file_that_shrinks_is_told(tmp_path: Path) -> None:
    models = pair(tmp_path, shards=1)
    plan = plan_merge(recipe(models))
    os.truncate(models[1] / "model.safetensors", (models[1] / "model.safetensors").stat().st_size - 4000)
    with pytest.raises(CheckpointError, match="ends inside tensor"):
        merge_checkpoints(plan, tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


SLOW = """
import os, sys, time
from pathlib import Path
from fmcompress.merging import merge_checkpoints, plan_merge, recipe_of
plain, models = os.pwrite, [{"model": m} for m in sys.argv[2:]]
def slow(*args):
    time.sleep(0.2)
    return plain(*args)
os.pwrite = slow
print("begun", flush=True)
merge_checkpoints(plan_merge(recipe_of({"models": models, "merge_method": "uniform"})), Path(sys.argv[1]))
"""


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT])
def test_a_kill_leaves_nothing_that_looks_finished(tmp_path: Path, by: signal.Signals) -> None:
    models, out = pair(tmp_path), tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, out, *models], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    growing = tmp_path / "out.partial" / "output"
    while process.poll() is None and not list(growing.glob("*.safetensors")):
        time.sleep(0.01)
    process.send_signal(by)
    assert process.wait(30) != 0
    assert not out.exists()
    assert (tmp_path / "out.partial").exists() is (by == signal.SIGKILL)
    merge_checkpoints(plan_merge(recipe(models)), out, force=True)
    assert_same_bits(all_tensors(out), run_merge(tmp_path / "fresh", "uniform", models))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = pair(tmp_path)
    path, out = tmp_path / "recipe.yaml", tmp_path / "out"
    path.write_text(f"models: [{{model: {models[0]}}}, {{model: {models[1]}}}]\nmerge_method: uniform\n")
    plan = invoke(capsys, "merge", path, out, "--dry-run")
    assert (plan.code, "uniform of" in plan.stdout, out.exists()) == (0, True, False)
    told = json.loads(invoke(capsys, "merge", path, out, "--dry-run", "--json").stdout)
    assert told["read_bytes"] == 2 * sum(tensor.nbytes for tensor in random_tensors(0).values())
    done = json.loads(invoke(capsys, "merge", path, out, "--json", "--quiet").stdout)
    assert done["bytes"] == told["written_bytes"] == sum(p.stat().st_size for p in out.glob("*.safetensors"))
    again = invoke(capsys, "merge", path, out)
    assert (again.code, again.stderr.count("\n")) == (2, 1)
    assert "m0, m1 · 11 tensors" in invoke(capsys, "merge", path, out, "--force").stdout
    assert_same_bits(all_tensors(out), run_merge(tmp_path / "fresh", "uniform", models))
    path.write_text("models: &m [*m]\n")
    broken = invoke(capsys, "merge", path, tmp_path / "none")
    assert (broken.code, broken.stderr.count("\n"), "contains itself" in broken.stderr) == (2, 1, True)
