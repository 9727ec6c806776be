"""What a run measures stands in one file, which survives a kill and is the only one that differs between equal runs."""

import json
import platform
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from helpers import CPU, Silent, folder_bytes, invoke, make_checkpoint, make_text, run_prune

from fmcompress.checkpoint.layout import MEASURED
from fmcompress.config import PruneConfig
from fmcompress.errors import DiskError
from fmcompress.formats import DenseOutput
from fmcompress.measured import Recorder
from fmcompress.page import read_run
from fmcompress.phases import Phases
from fmcompress.pipeline import compress_checkpoint, prepare

BLOCKS, LAYERS = 3, 7


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("measured")
    make_checkpoint(home / "model", blocks=BLOCKS)
    make_text(home / "text.txt", 6_000)
    run_prune(home / "model", home / "out", home / "text.txt", sparsity=0.5)
    return home


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / MEASURED).read_text().splitlines()]


class Killed(BaseException):
    pass


@pytest.fixture
def stopped(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that ended in the middle of its second block."""
    real, count = Recorder.layer, 0

    def layer(self: Recorder, block: int, record: dict[str, Any]) -> None:
        nonlocal count
        count += 1
        real(self, block, record)
        if count == LAYERS + 3:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Recorder, "layer", layer)
        with pytest.raises(Killed):
            run_prune(home / "model", tmp_path / "out", home / "text.txt", sparsity=0.5)
    return tmp_path / "out"


def test_every_layer_and_block_has_its_line(home: Path) -> None:
    first, *rest, last = events(home / "out")
    assert (first["run"]["blocks"], first["run"]["done"], first["run"]["device"]) == (BLOCKS, 0, "cpu")
    assert first["run"]["threads"] >= 1
    tensors = [layer["tensor"] for layer in json.loads((home / "out" / "fmcompress.json").read_text())["layers"]]
    assert [event["layer"] for event in rest if "layer" in event] == tensors
    assert [event["block"] for event in rest if event.get("finished")] == list(range(BLOCKS))
    assert last["finished"]
    assert "block" not in last
    assert all({"factor", "solve"} <= event["seconds"].keys() for event in rest if "layer" in event)
    times = [event["at_s"] for event in events(home / "out")]
    assert times == sorted(times)
    for event in events(home / "out"):
        assert 1 << 20 < event["resident_bytes"] <= 1 << 40
        assert event["resident_bytes"] <= 1.01 * event["peak_bytes"]


def test_where_the_seconds_went(home: Path) -> None:
    run = [event for event in events(home / "out") if event.get("finished")]
    names = {"check", "begin", "embed", "load", "calibrate", "solve", "write", "forward"}
    for before, event in pairwise(run):
        assert all(before["phases"][name] <= event["phases"][name] for name in before["phases"])
    assert set(run[-1]["phases"]) == names | {"verify"}
    assert sum(run[-1]["phases"].values()) <= run[-1]["at_s"]


def test_no_place_and_no_name_of_the_machine(home: Path) -> None:
    text = (home / "out" / MEASURED).read_text()
    assert str(home) not in text
    assert platform.node() not in text


def test_all_else_is_equal(home: Path, tmp_path: Path) -> None:
    run_prune(home / "model", tmp_path / "out", home / "text.txt", sparsity=0.5)
    assert folder_bytes(tmp_path / "out") == folder_bytes(home / "out")
    assert (tmp_path / "out" / MEASURED).read_bytes() != (home / "out" / MEASURED).read_bytes()


def test_seconds_of_a_layer_are_those_between_events(home: Path) -> None:
    run, raw = read_run(home / "out"), events(home / "out")
    assert len(run.layer_seconds) == BLOCKS * LAYERS
    solved = sum(sum(phases.values()) for phases in run.layer_seconds.values())
    assert solved == pytest.approx(raw[-2]["at_s"] - raw[0]["at_s"], rel=0.01)
    assert run.seconds == pytest.approx(raw[-1]["at_s"])
    per_block = [run.layer_seconds[layer.tensor] for layer in run.facts.layers[6::7]]
    assert all("write" in phases for phases in per_block)
    assert sum("write" in phases for phases in run.layer_seconds.values()) == BLOCKS


def test_resuming_keeps_what_the_first_run_measured(home: Path, stopped: Path) -> None:
    before = (stopped.with_name("out.partial") / MEASURED).read_bytes()
    run_prune(home / "model", stopped, home / "text.txt", sparsity=0.5, resume=True)
    assert (stopped / MEASURED).read_bytes().startswith(before)
    assert folder_bytes(stopped) == folder_bytes(home / "out")
    run = read_run(stopped)
    assert [events[0].run and events[0].run["done"] for events in run.sessions] == [0, 1]
    assert len(run.layer_seconds) == BLOCKS * LAYERS
    assert run.seconds == pytest.approx(sum(events[-1].at_s for events in run.sessions))


def test_a_line_cut_short_is_left_out(home: Path, stopped: Path) -> None:
    path = stopped.with_name("out.partial") / MEASURED
    path.write_bytes(path.read_bytes()[:-20])
    run_prune(home / "model", stopped, home / "text.txt", sparsity=0.5, resume=True)
    run = read_run(stopped)
    assert len(run.sessions) == 2
    assert [len(events) for events in run.sessions] == [1 + LAYERS + 1 + 2, 1 + 2 * (LAYERS + 1) + 1]


def test_force_forgets(home: Path, stopped: Path) -> None:
    config = PruneConfig(sparsity=0.5, sequence_length=64, samples=16)
    job = prepare(home / "model", config, home / "text.txt", CPU)
    compress_checkpoint(job, stopped, Silent(), force=True)
    assert len(read_run(stopped).sessions) == 1


def test_of_a_pruned_model_only_the_last_run(home: Path, tmp_path: Path) -> None:
    for options in ({"format": "dense"}, {"format": "packed"}):
        out = tmp_path / options["format"]
        run_prune(home / "out", out, None, sparsity=0.6, method="magnitude", **options)
        assert len(read_run(out).sessions) == 1
        assert not any("factor" in phases for phases in read_run(out).layer_seconds.values())


def test_unpacking_keeps_it(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_prune(home / "model", tmp_path / "packed", None, sparsity=0.5, method="magnitude", format="packed")
    assert invoke(capsys, "unpack", tmp_path / "packed", tmp_path / "dense").code == 0
    assert (tmp_path / "dense" / MEASURED).read_bytes() == (tmp_path / "packed" / MEASURED).read_bytes()


def test_the_other_observer_is_told(home: Path, tmp_path: Path) -> None:
    told: list[Any] = []

    class Listening(Silent):
        def start(self, blocks: int, done: int) -> None:
            told.append((blocks, done))

        def layer(self, block: int, record: dict[str, Any]) -> None:
            told.append(record["tensor"])

        def block(self, block: int) -> None:
            told.append(block)

    recorder = Recorder(tmp_path, CPU, Listening(), 0.0, Phases())
    recorder.start(4, 1)
    recorder.layer(1, {"tensor": "a"})
    recorder.block(1)
    assert told == [(4, 1), "a", 1]


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / MEASURED).mkdir()
    with pytest.raises(DiskError, match="cannot be written"):
        Recorder(tmp_path, CPU, Silent(), 0.0, Phases()).start(1, 0)


def test_a_run_that_fails_leaves_nothing(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fmcompress.errors import CheckpointError

    def fail(*_: object) -> None:
        raise CheckpointError("damaged")

    monkeypatch.setattr(DenseOutput, "finish", fail)
    with pytest.raises(CheckpointError, match="damaged"):
        run_prune(home / "model", tmp_path / "out", home / "text.txt", sparsity=0.5)
    assert not list(tmp_path.iterdir())


def test_old_folders_have_none(home: Path, tmp_path: Path) -> None:
    old = Path(shutil.copytree(home / "out", tmp_path / "old"))
    (old / MEASURED).unlink()
    run = read_run(old)
    assert (run.sessions, run.layer_seconds, run.seconds, run.peak_bytes) == ([], {}, None, None)
