"""Runs that write another form than dense, stopped at any moment, go on to the same bytes; two at once are refused."""

import errno
import fcntl
import json
import os
import re
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
from compression import BLOCKS, FORMS, job_of, make_home, run
from helpers import Silent, folder_bytes
from test_resume import Killed, state, stop_after

from fmcompress import pipeline
from fmcompress.checkpoint import Checkpoint
from fmcompress.checkpoint.layout import read_header
from fmcompress.errors import CheckpointError, ConfigError, DiskError
from fmcompress.formats import open_checkpoint, output
from fmcompress.formats.store import LayerStore
from fmcompress.job import Job
from fmcompress.journal import FILE, Journal
from fmcompress.pipeline import compress_checkpoint
from fmcompress.workspace import FACTS, Workspace


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_home(tmp_path_factory.mktemp("encoded"))


@pytest.fixture(scope="module")
def jobs(home: Path) -> dict[str, Job]:
    """Read and checked once, since that takes most of so small a run."""
    return {form: job_of(home, form) for form in FORMS}


@pytest.fixture(scope="module")
def finished(home: Path, jobs: dict[str, Job]) -> dict[str, dict[str, bytes]]:
    """The files of runs that nobody stopped, by form."""
    for form in FORMS:
        compress_checkpoint(jobs[form], home / form, Silent())
    return {form: folder_bytes(home / form) for form in FORMS}


MOMENTS: dict[str, tuple[Any, str, int, bool]] = {
    "before anything": (pipeline.Workspace, "open", 1, True),
    "begun, before the journal": (Journal, "start", 1, True),
    "after the journal began": (Journal, "start", 1, False),
    "in the middle of block 1": (LayerStore, "write", 10, False),
    "block 1 written, not noted": (Journal, "append", 2, True),
    "block 1 noted": (Journal, "append", 2, False),
    "last block noted": (Journal, "append", BLOCKS, False),
    "shards written": (output, "write_shards", 1, False),
    "before the check": (output, "verify_checkpoint", 1, True),
    "checked": (output.EncodedOutput, "finish", 1, False),
    "facts written": (os, "rename", 1, True),
    "renamed, not swept up": (os, "rename", 1, False),
}


@pytest.mark.parametrize("form", ["packed", "compressed-tensors"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_stopped_at_a_chosen_moment(
    tmp_path: Path,
    jobs: dict[str, Job],
    finished: dict[str, dict[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
    form: str,
) -> None:
    with monkeypatch.context() as patched:
        stop_after(patched, *MOMENTS[moment])
        with pytest.raises(Killed):
            compress_checkpoint(jobs[form], tmp_path / "out", Silent())
    compress_checkpoint(jobs[form], tmp_path / "out", Silent(), resume=True)
    assert folder_bytes(tmp_path / "out") == finished[form]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.fixture
def stopped(jobs: dict[str, Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """OUT of a packed run that stopped after two blocks."""
    with monkeypatch.context() as patched:
        stop_after(patched, Journal, "append", 2, False)
        with pytest.raises(Killed):
            compress_checkpoint(jobs["packed"], tmp_path / "out", Silent())
    return tmp_path / "out"


def test_half_a_layer_is_written_anew(home: Path, stopped: Path, finished: dict[str, dict[str, bytes]]) -> None:
    """What a kill leaves of a file that no line of the journal names."""
    store = LayerStore(stopped.with_name("out.partial") / "layers")
    left = [name for name in Checkpoint(home / "model").tensors if "layers.2." in name and "proj" in name]
    assert not any(store.path(name).exists() for name in left)
    for name in left:
        store.path(name).write_bytes(b"\x10\0\0\0\0\0\0\0{")
    run(home / "model", stopped, home / "text.txt", resume=True, **FORMS["packed"])
    assert folder_bytes(stopped) == finished["packed"]


def test_without_data_too(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"method": "rtn", "format": "packed", "bits": 2, "symmetric": False}
    run(home / "model", tmp_path / "straight", **options)
    with monkeypatch.context() as patched:
        stop_after(patched, LayerStore, "write", 10, False)
        with pytest.raises(Killed):
            run(home / "model", tmp_path / "out", **options)
    run(home / "model", tmp_path / "out", resume=True, **options)
    assert folder_bytes(tmp_path / "out") == folder_bytes(tmp_path / "straight")


@pytest.mark.parametrize("count", [10, 7 * BLOCKS + 1])
def test_a_full_disk_keeps_finished_blocks(
    jobs: dict[str, Job],
    tmp_path: Path,
    finished: dict[str, dict[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
    count: int,
) -> None:
    """In the middle of a block, or when the shards are written."""
    real, left = Path.open, count

    def full(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        nonlocal left
        left -= mode == "wb"
        if left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(path, mode, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", full)
        with pytest.raises(DiskError, match="the disk is full"):
            compress_checkpoint(jobs["packed"], tmp_path / "out", Silent())
    assert state(tmp_path / "out") == f"{1 + count // 7} lines"
    compress_checkpoint(jobs["packed"], tmp_path / "out", Silent(), resume=True)
    assert folder_bytes(tmp_path / "out") == finished["packed"]


def test_a_finished_layer_that_was_damaged(home: Path, stopped: Path) -> None:
    partial = stopped.with_name("out.partial")
    path = sorted((partial / "layers").iterdir())[0]
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(CheckpointError, match=f"{path.name}: cut short"):
        run(home / "model", stopped, home / "text.txt", resume=True, **FORMS["packed"])
    assert not stopped.exists()


def test_a_finished_layer_that_is_gone(home: Path, stopped: Path) -> None:
    """The unsolved weight must not take its place in what later blocks are calibrated on."""
    name, partial = "model.layers.0.mlp.up_proj.weight", stopped.with_name("out.partial")
    LayerStore(partial / "layers").path(name).unlink()
    before = folder_bytes(partial)
    with pytest.raises(CheckpointError, match=f"^{name}: it was solved, but .* is gone. Use --force"):
        run(home / "model", stopped, home / "text.txt", resume=True, **FORMS["packed"])
    assert folder_bytes(partial) == before


@pytest.mark.parametrize("form", ["packed", "compressed-tensors"])
def test_the_disk_must_hold_what_is_written_and_no_more(
    jobs: dict[str, Job],
    finished: dict[str, dict[str, bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
) -> None:
    """What is encoded lies there twice, what is not once: less than the dense checkpoint has."""
    written: list[int] = []

    def verify(*_: Any, **__: Any) -> None:
        tensors = [*(tmp_path / "out.partial").rglob("*.safetensors")]
        written.append(sum(entry.size_bytes for path in tensors for entry in read_header(path).values()))

    monkeypatch.setattr(output, "verify_checkpoint", verify)
    free, usage = 0, namedtuple("Usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1 << 40, 0, free))
    with pytest.raises(CheckpointError, match=r"\d+ bytes needed, 0 free") as refused:
        compress_checkpoint(jobs[form], tmp_path / "out", Silent())
    needed = int(re.findall(r"(\d+) bytes needed", str(refused.value))[0])
    free = needed
    compress_checkpoint(jobs[form], tmp_path / "out", Silent())
    assert needed < jobs[form].source.total_bytes
    assert needed == pytest.approx(written[0], rel=0.03)


@pytest.mark.parametrize(
    "change",
    [{"format": "dense"}, {"bits": 3}, {"group_size": 16}, {"symmetric": False}, {"clip_search": True}],
    ids=str,
)
def test_other_options_are_refused(home: Path, stopped: Path, change: dict[str, Any]) -> None:
    before = folder_bytes(stopped.with_name("out.partial"))
    with pytest.raises(ConfigError, match=f"--resume: option {next(iter(change))} was"):
        run(home / "model", stopped, home / "text.txt", resume=True, **{**FORMS["packed"], **change})
    assert folder_bytes(stopped.with_name("out.partial")) == before


@pytest.mark.parametrize("flags", [{"resume": True}, {"force": True}], ids=str)
def test_two_runs_at_once_are_refused(
    home: Path, stopped: Path, finished: dict[str, dict[str, bytes]], flags: dict[str, bool]
) -> None:
    partial = stopped.with_name("out.partial")
    before, handle = folder_bytes(partial), os.open(partial, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)  # as a living run does
        with pytest.raises(ConfigError, match=r"out\.partial: another run is at work on it"):
            run(home / "model", stopped, home / "text.txt", **flags, **FORMS["packed"])
        for some in ({}, flags):  # found out at once, before what to do about a run that is not alive
            with pytest.raises(ConfigError, match=r"out\.partial: another run is at work on it"):
                Workspace(Checkpoint(home / "model"), stopped, **{"resume": False, "force": False, **some})
        assert folder_bytes(partial) == before
    finally:
        os.close(handle)
    run(home / "model", stopped, home / "text.txt", **flags, **FORMS["packed"])
    assert folder_bytes(stopped) == finished["packed"]


def test_a_run_is_locked_while_it_works(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusals: list[str] = []

    def block(self: Silent, index: int) -> None:
        with pytest.raises(ConfigError) as refused:
            run(home / "model", tmp_path / "out", resume=True, method="rtn", format="packed")
        refusals.append(str(refused.value))

    monkeypatch.setattr(Silent, "block", block)
    run(home / "model", tmp_path / "out", method="rtn", format="packed")
    assert len(refusals) == BLOCKS
    assert all("another run is at work on it" in text for text in refusals)


@pytest.mark.parametrize(
    "damage",
    [
        lambda lines: [*lines, lines[-1]],  # doubled
        lambda lines: [lines[0], lines[2]],  # one is missing
        lambda lines: [lines[0], lines[2], lines[1]],
        lambda lines: [*lines, b"rubbish\n"],
        lambda lines: [*lines, b"[1]\n"],
        lambda lines: [b"7\n", *lines[1:]],
    ],
)
def test_journals_that_cannot_be(home: Path, stopped: Path, damage: Any) -> None:
    path = stopped.with_name("out.partial") / FILE
    path.write_bytes(b"".join(damage(path.read_bytes().splitlines(keepends=True))))
    before = folder_bytes(path.parent)
    with pytest.raises(ConfigError, match=r"journal\.jsonl.*Use --force"):
        run(home / "model", stopped, home / "text.txt", resume=True, **FORMS["packed"])
    assert folder_bytes(path.parent) == before


@pytest.mark.parametrize("flags", [{"resume": True}, {"force": True}, {}], ids=str)
def test_a_folder_without_a_checkpoint_is_left_alone(home: Path, tmp_path: Path, flags: dict[str, bool]) -> None:
    out = tmp_path / "out"
    (out / "pictures").mkdir(parents=True)
    (out / "pictures" / "mine.jpg").write_text("keep me")
    with pytest.raises(
        ConfigError, match="holds no checkpoint, so --force leaves it alone" if "force" in flags else "not empty"
    ):
        run(home / "model", out, method="rtn", format="packed", **flags)
    assert folder_bytes(tmp_path) == {"out/pictures/mine.jpg": b"keep me"}


def test_force_replaces_another_form(home: Path, tmp_path: Path) -> None:
    for form in ("packed", "dense", "compressed-tensors"):
        run(home / "model", tmp_path / "out", method="rtn", group_size=32, format=form, force=True)
        assert json.loads((tmp_path / "out" / FACTS).read_text())["format"] == form
        assert [path.name for path in tmp_path.iterdir()] == ["out"]
        open_checkpoint(tmp_path / "out").read("model.layers.0.mlp.up_proj.weight")
