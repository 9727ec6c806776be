"""Tensors that are read before they are asked for."""

import threading

import pytest
import torch
from helpers import CPU, make_checkpoint
from torch import Tensor

from fmcompress.calibration import StreamedModel
from fmcompress.checkpoint import Checkpoint, ReadAhead
from fmcompress.checkpoint.ahead import THREADS
from fmcompress.errors import CheckpointError


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return Checkpoint(make_checkpoint(tmp_path_factory.mktemp("ahead") / "model", blocks=2))


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Which thread read which tensor."""
    found: list[tuple[str, str]] = []
    real = Checkpoint.read

    def read(self: Checkpoint, name: str) -> Tensor:
        found.append((threading.current_thread().name.split("_")[0], name))
        return real(self, name)

    monkeypatch.setattr(Checkpoint, "read", read)
    return found


def test_announced_tensors_are_read_once_by_threads(source: Checkpoint, readers: list[tuple[str, str]]) -> None:
    first, second, *_, other = sorted(source.tensors)
    ahead = ReadAhead(source)
    ahead.announce([first, second])
    ahead.announce([first, second])  # as before
    assert all(torch.equal(ahead.read(name), source.read_entry(source.entry(name))) for name in (second, first, other))
    assert sorted(readers) == [("MainThread", other), ("fmcompress-read", first), ("fmcompress-read", second)]
    ahead.read(first)  # given once: now anew
    assert readers[-1] == ("MainThread", first)


def test_an_error_is_raised_where_the_tensor_is_asked_for(source: Checkpoint) -> None:
    ahead = ReadAhead(source)
    ahead.announce(["nothing"])
    with pytest.raises(CheckpointError, match="holds no tensor 'nothing'"):
        ahead.read("nothing")


def test_a_run_that_stops_reads_no_further(
    source: Checkpoint, readers: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    streamed, going_on, real = StreamedModel(source, CPU, torch.float32), threading.Event(), Checkpoint.read

    def slow(self: Checkpoint, name: str) -> Tensor:
        if threading.current_thread() is not threading.main_thread():
            assert going_on.wait(60)
        return real(self, name)

    monkeypatch.setattr(Checkpoint, "read", slow)

    def run() -> None:
        with streamed.loaded(0):
            streamed._ahead.announce(streamed.stored_names(streamed.blocks[1][1]))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    going_on.set()
    assert streamed._ahead._pool is not None
    streamed._ahead._pool.shutdown()
    assert len([name for thread, name in readers if thread == "fmcompress-read"]) <= THREADS  # of 9


def test_the_next_block_is_read_ahead_for_a_gpu(source: Checkpoint, readers: list[tuple[str, str]]) -> None:
    streamed = StreamedModel(source, torch.device("cpu"), torch.float32)
    with streamed.loaded(0):
        pass
    assert {thread for thread, _ in readers} == {"MainThread"}  # on a CPU the cores are busy, and memory is dear
    readers.clear()
    streamed._ahead.announce(streamed.stored_names(streamed.blocks[1][1]))
    with streamed.loaded(1) as block:
        loaded = {name: parameter.clone() for name, parameter in block.named_parameters()}
    assert {thread for thread, _ in readers} == {"fmcompress-read"}
    assert len(readers) == len(loaded) == 9
    with streamed.loaded(1) as block:
        assert all(torch.equal(loaded[name], parameter) for name, parameter in block.named_parameters())
