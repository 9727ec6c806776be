"""A run that is killed at any moment goes on to the bytes of a run that was not; FMCOMPRESS_KILLS kills more often."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import CPU, Silent, folder_bytes, invoke, make_checkpoint, make_text, run_prune, start_cli

from fmcompress import pipeline
from fmcompress.config import PruneConfig
from fmcompress.errors import CheckpointError, ConfigError, DiskError
from fmcompress.formats import DenseOutput
from fmcompress.journal import FILE, Journal
from fmcompress.outputs import Keeper
from fmcompress.pipeline import compress_checkpoint, prepare
from fmcompress.workspace import FACTS

KILLS = int(os.environ.get("FMCOMPRESS_KILLS", "6"))
BLOCKS = 4


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("resume")
    make_checkpoint(home / "model", blocks=BLOCKS, hidden=64, shards=2)
    make_text(home / "text.txt", 12_000)
    return home


class Killed(BaseException):
    """Stands for a kill inside of this process, at a moment of our choice."""


def stop_after(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, calls: int, before: bool) -> None:
    """Let the call number `calls` of a function end the run, before or after it did its work."""
    real, count = getattr(owner, name), 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        if count == calls and before:
            raise Killed
        result = real(*args, **kwargs)
        if count == calls:
            raise Killed
        return result

    monkeypatch.setattr(owner, name, wrapped)


@pytest.fixture(scope="module")
def uninterrupted(home: Path) -> dict[str, bytes]:
    run_prune(home / "model", home / "straight", home / "text.txt", sparsity=0.5)
    return folder_bytes(home / "straight")


MOMENTS: dict[str, tuple[Any, str, int, bool]] = {
    "before copying": (pipeline.Workspace, "open", 1, True),
    "after copying, before the journal": (Journal, "start", 1, True),
    "after the journal began": (Journal, "start", 1, False),
    "in the middle of block 1": (DenseOutput, "write", 10, False),
    "block 1 written, not noted": (Journal, "append", 2, True),
    "block 1 noted": (Journal, "append", 2, False),
    "last block noted": (Journal, "append", BLOCKS, False),
    "checked": (DenseOutput, "finish", 1, False),
    "facts written": (os, "rename", 1, True),
    "renamed, not swept up": (os, "rename", 1, False),
}


def write_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a CPU write blocks as a GPU does: while the next one is computed."""
    monkeypatch.setattr(pipeline, "Keeper", lambda *given, behind: Keeper(*given, behind=True))


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("moment", MOMENTS)
def test_stopped_at_a_chosen_moment(
    home: Path,
    tmp_path: Path,
    uninterrupted: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
    behind: bool,
) -> None:
    with monkeypatch.context() as patched:
        if behind:
            write_behind(patched)
        stop_after(patched, *MOMENTS[moment])
        with pytest.raises(Killed):
            run_prune(home / "model", tmp_path / "out", home / "text.txt", sparsity=0.5)
    run_prune(home / "model", tmp_path / "out", home / "text.txt", sparsity=0.5, resume=True)
    assert folder_bytes(tmp_path / "out") == uninterrupted
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_written_behind_to_the_same_bytes(
    home: Path, tmp_path: Path, uninterrupted: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(Silent, "block", lambda _, block: told.append(f"block {block}"))
    monkeypatch.setattr(Silent, "layer", lambda _, block, record: told.append(f"layer of {block}"))
    write_behind(monkeypatch)
    run_prune(home / "model", tmp_path / "out", home / "text.txt", sparsity=0.5)
    assert folder_bytes(tmp_path / "out") == uninterrupted
    # a block is told of when it is on disk, which is looked at when the next one is solved
    assert list(dict.fromkeys(told)) == [
        "layer of 0", "layer of 1", "block 0", "layer of 2", "block 1", "layer of 3", "block 2", "block 3",
    ]  # fmt: skip


def test_a_full_disk_behind_ends_the_run(
    home: Path, tmp_path: Path, uninterrupted: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, count = DenseOutput.flush, 0

    def flush(self: DenseOutput) -> None:
        nonlocal count
        count += 1
        if count == 2:
            raise DiskError("the disk is full")
        real(self)

    with monkeypatch.context() as patched:
        write_behind(patched)
        patched.setattr(DenseOutput, "flush", flush)
        with pytest.raises(DiskError, match="the disk is full"):
            run_prune(home / "model", tmp_path / "out", home / "text.txt", sparsity=0.5)
    assert count == 2  # no later block is written after one that was not
    assert len(Journal(tmp_path / "out.partial").records) == 1
    run_prune(home / "model", tmp_path / "out", home / "text.txt", sparsity=0.5, resume=True)
    assert folder_bytes(tmp_path / "out") == uninterrupted


@pytest.mark.parametrize(
    "options", [{"pattern": "2:4", "true_sequential": True}, {"sparsity": 0.4, "method": "magnitude"}]
)
def test_stopped_with_other_options(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    text = None if "method" in options else home / "text.txt"
    run_prune(home / "model", tmp_path / "straight", text, **options)
    with monkeypatch.context() as patched:
        stop_after(patched, DenseOutput, "write", 17, True)
        with pytest.raises(Killed):
            run_prune(home / "model", tmp_path / "out", text, **options)
    run_prune(home / "model", tmp_path / "out", text, resume=True, **options)
    assert folder_bytes(tmp_path / "out") == folder_bytes(tmp_path / "straight")


def arguments(home: Path, out: Path) -> list[object]:
    return [
        "prune", home / "model", out, "--sparsity", 0.5, "--calibration", home / "text.txt",
        "--samples", 32, "--sequence-length", 128,
    ]  # fmt: skip


@pytest.mark.slow
def test_killed_at_random_moments(home: Path, tmp_path: Path) -> None:
    begin = time.perf_counter()
    process = start_cli(*arguments(home, tmp_path / "straight"))
    work_begins = seconds_until(process, lambda: (tmp_path / "straight.partial").exists(), begin)
    assert process.wait() == 0, process.stderr
    whole = time.perf_counter() - begin
    chance, reached = random.Random(0), set[str]()
    for _ in range(KILLS):
        process = start_cli(*arguments(home, tmp_path / "out"), "--resume")
        # most delays after importing and reading, which take most of so short a run
        low = chance.choice([0.0, 0.9 * work_begins, 0.9 * work_begins])
        try:
            process.wait(chance.uniform(low, whole))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            reached.add(state(tmp_path / "out"))
        else:
            assert process.returncode == 0, process.stderr
            shutil.rmtree(tmp_path / "out")  # it was faster: begin anew
            reached.add("finished")
    process = start_cli(*arguments(home, tmp_path / "out"), "--resume")
    process.communicate()
    assert process.returncode == 0
    assert folder_bytes(tmp_path / "out") == folder_bytes(tmp_path / "straight"), reached
    assert {path.name for path in tmp_path.iterdir()} == {"out", "straight"}


def seconds_until(process: "subprocess.Popen[str]", true: Callable[[], bool], begin: float) -> float:
    while process.poll() is None and not true():
        time.sleep(0.01)
    return time.perf_counter() - begin


def state(out: Path) -> str:
    journal = out.with_name(out.name + ".partial") / FILE
    return f"{len(journal.read_bytes().splitlines())} lines" if journal.exists() else "no journal"


@pytest.fixture
def stopped(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An output folder whose run stopped after two blocks."""
    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        stop_after(patched, Journal, "append", 2, False)
        with pytest.raises(Killed):
            run_prune(home / "model", out, home / "text.txt", sparsity=0.5)
    return out


def test_resuming_solves_only_what_is_left(
    home: Path, stopped: Path, uninterrupted: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    solved: list[str] = []
    monkeypatch.setattr(Silent, "layer", lambda self, block, record: solved.append(record["tensor"]))
    run_prune(home / "model", stopped, home / "text.txt", sparsity=0.5, resume=True)
    assert {name.split(".")[2] for name in solved} == {"2", "3"}
    assert len(solved) == 14
    assert folder_bytes(stopped) == uninterrupted


def test_other_model_is_refused(home: Path, stopped: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(home / "model", tmp_path / "other"))
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 1e-4}))
    refused(
        stopped, "--resume: model was", lambda: run_prune(other, stopped, home / "text.txt", sparsity=0.5, resume=True)
    )


def test_other_calibration_is_refused(home: Path, stopped: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text((home / "text.txt").read_text()[500:])
    refused(
        stopped,
        "--resume: calibration was",
        lambda: run_prune(home / "model", stopped, text, sparsity=0.5, resume=True),
    )


@pytest.mark.parametrize(
    "change", [{"sparsity": 0.6}, {"damping": 0.02}, {"block_size": 64}, {"true_sequential": True}, {"exclude": "down"}]
)
def test_other_options_are_refused(home: Path, stopped: Path, change: dict[str, Any]) -> None:
    options = {"sparsity": 0.5, **change}
    field = f"--resume: option {next(iter(change))} was"
    refused(stopped, field, lambda: run_prune(home / "model", stopped, home / "text.txt", resume=True, **options))


def test_graphs_change_no_bit_and_may_change(home: Path, stopped: Path, uninterrupted: dict[str, bytes]) -> None:
    run_prune(home / "model", stopped, home / "text.txt", sparsity=0.5, resume=True, cuda_graphs=True)
    weights = {name: data for name, data in folder_bytes(stopped).items() if name.endswith(".safetensors")}
    assert weights
    assert weights.items() <= uninterrupted.items()


def refused(out: Path, message: str, run: Callable[[], Any]) -> None:
    """The run is refused and what lies there stays as it is."""
    partial = out.with_name("out.partial")
    before = folder_bytes(partial)
    with pytest.raises(ConfigError, match=message):
        run()
    assert folder_bytes(partial) == before
    assert not out.exists()


def test_interrupted_run_is_not_overwritten_unasked(home: Path, stopped: Path) -> None:
    refused(
        stopped,
        "left from an interrupted run",
        lambda: run_prune(home / "model", stopped, home / "text.txt", sparsity=0.5),
    )


def test_force_starts_anew(home: Path, stopped: Path) -> None:
    config = PruneConfig(sparsity=0.6, sequence_length=64, samples=16)
    for _ in range(2):  # the second time it replaces a finished folder
        observer = Silent()
        facts = compress_checkpoint(
            prepare(home / "model", config, home / "text.txt", CPU), stopped, observer, force=True
        )
        assert observer.done == 0
        assert facts["sparsity"] == pytest.approx(0.6, abs=1e-3)
        assert [path.name for path in stopped.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("cut", [1, 5, 60])
def test_a_last_line_cut_short_is_ignored(home: Path, stopped: Path, uninterrupted: dict[str, bytes], cut: int) -> None:
    path = stopped.with_name("out.partial") / FILE
    data = path.read_bytes()
    path.write_bytes(data[:-cut])
    journal = Journal(path.parent)
    assert len(journal.records) == 1
    assert path.read_bytes() == b"".join(data.splitlines(keepends=True)[:2])
    run_prune(home / "model", stopped, home / "text.txt", sparsity=0.5, resume=True)
    assert folder_bytes(stopped) == uninterrupted


def test_a_first_line_cut_short_starts_anew(home: Path, stopped: Path, uninterrupted: dict[str, bytes]) -> None:
    path = stopped.with_name("out.partial") / FILE
    path.write_bytes(path.read_bytes()[:40])
    run_prune(home / "model", stopped, home / "text.txt", sparsity=0.5, resume=True)
    assert folder_bytes(stopped) == uninterrupted


def test_finished_run_says_so(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    first = invoke(capsys, *arguments(home, out), "--resume")
    assert first.code == 0, first.stderr
    before = folder_bytes(out)
    again = invoke(capsys, *arguments(home, out), "--resume")
    assert again.code == 0
    assert "is finished already" in again.stderr
    assert "nothing left to do" in again.stdout
    assert folder_bytes(out) == before
    unasked = invoke(capsys, *arguments(home, out))
    assert unasked.code == 2
    assert "is not empty" in unasked.stderr


def test_finished_run_of_other_options_is_refused(home: Path, tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    shutil.copytree(home / "straight", tmp_path / "out")
    with pytest.raises(ConfigError, match=r"option sparsity was 0\.5"):
        run_prune(home / "model", tmp_path / "out", home / "text.txt", sparsity=0.6, resume=True)
    assert folder_bytes(tmp_path / "out") == folder_bytes(home / "straight")
    assert FACTS in folder_bytes(tmp_path / "out")


def test_full_disk_keeps_finished_blocks(
    home: Path, tmp_path: Path, uninterrupted: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unlike bad input, this passes: hours of work must not go with it."""
    real, count = Path.open, 0

    def full(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += mode == "r+b"
        if count > 10:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(path, mode, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", full)
        with pytest.raises(CheckpointError, match="the disk is full"):
            run_prune(home / "model", tmp_path / "out", home / "text.txt", sparsity=0.5)
    assert state(tmp_path / "out") == "2 lines"
    run_prune(home / "model", tmp_path / "out", home / "text.txt", sparsity=0.5, resume=True)
    assert folder_bytes(tmp_path / "out") == uninterrupted


def test_interrupted_by_a_person(home: Path, tmp_path: Path) -> None:
    # long enough that the signal comes in its midst, also on a busy machine
    text = make_text(tmp_path / "long.txt", 200_000)
    command = [*arguments(home, tmp_path / "out"), "--calibration", text, "--samples", 600]
    process = start_cli(*command)
    seconds_until(process, lambda: (tmp_path / "out.partial" / FILE).exists(), 0)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate()
    assert process.returncode == 130
    assert "error: interrupted" in stderr
    assert "--resume" in stderr
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "out.partial" / FILE).exists()
