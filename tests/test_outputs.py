"""Blocks that are written behind the computation: in which order, and what becomes of errors."""

import contextlib
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fmcompress.errors import DiskError
from fmcompress.layerwise import LayerResult
from fmcompress.outputs import Keeper
from fmcompress.phases import Phases

SOLVED = [({"tensor": "a"}, LayerResult(torch.ones(2, 2), 0.0, 0.0, 0))]


class Told:
    """An output, a journal and an observer that note what they are told; writing block `fails` fails."""

    def __init__(self, fails: int | None = None) -> None:
        self.done: list[str] = []
        self.fails, self.writes = fails, 0
        self.may_write = threading.Event()
        self.may_write.set()

    def write(self, name: str, result: LayerResult) -> None:
        assert self.may_write.wait(60)
        if self.writes == self.fails:
            raise DiskError("the disk is full")
        self.writes += 1
        self.done.append("write")

    def flush(self) -> None:
        self.done.append("sync")

    def append(self, record: dict[str, Any]) -> None:
        self.done.append(f"journal {record['block']}")

    def block(self, index: int) -> None:
        self.done.append(f"told of {index}")


def keeper(told: Told, device: str = "cpu") -> Keeper:
    job: Any = SimpleNamespace(device=torch.device(device), phases=Phases())
    given: Any = told
    return Keeper(job, given, given, given, behind=True)


def test_a_block_is_noted_when_it_is_on_disk_and_told_of_after_that() -> None:
    told = Told()
    with keeper(told) as kept:
        kept.keep(0, SOLVED)
        kept.keep(1, SOLVED * 2)
    assert [did for did in told.done if "told" not in did] == [
        "write", "sync", "journal 0", "write", "write", "sync", "journal 1",
    ]  # fmt: skip
    assert told.done.index("journal 0") < told.done.index("told of 0")
    assert told.done[-1] == "told of 1"


def test_the_next_block_does_not_wait_but_the_one_after_it_does() -> None:
    told = Told()
    told.may_write.clear()
    with keeper(told) as kept:
        kept.keep(0, SOLVED)  # returns while nothing can be written
        assert not told.done
        second = threading.Thread(target=kept.keep, args=(1, SOLVED))
        second.start()
        second.join(0.2)
        assert second.is_alive()  # at most one block waits in memory
        told.may_write.set()
        second.join()


@pytest.mark.parametrize("last", [0, 1])
def test_an_error_of_the_thread_ends_the_run(last: int) -> None:
    told = Told(fails=0)

    def run() -> None:
        with keeper(told) as kept:
            for index in range(last + 1):
                kept.keep(index, SOLVED)

    with pytest.raises(DiskError, match="the disk is full"):
        run()
    assert not told.done  # nothing was noted, and no later block begun


def test_ctrl_c_waits_for_what_is_being_written() -> None:
    told = Told()
    told.may_write.clear()

    def run() -> None:
        with keeper(told) as kept:
            kept.keep(0, SOLVED)
            threading.Timer(0.2, told.may_write.set).start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    assert told.done == ["write", "sync", "journal 0"]  # before the folder is unlocked, and --resume goes on after it
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fmcompress-write")]


def test_the_copies_wait_for_this_block_and_its_memory_for_the_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told()

    class Stream:
        def __init__(self, device: torch.device) -> None:
            assert device == torch.device("cuda", 1)

        def wait_event(self, event: str) -> None:
            told.done.append(f"wait for {event}")

        def synchronize(self) -> None:
            told.done.append("all is copied")

    @contextlib.contextmanager
    def on(stream: Stream) -> Iterator[None]:
        told.done.append("on it")
        yield
        told.done.append("off it")

    computing = SimpleNamespace(record_event=lambda: told.done.append("now") or "now")
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", on)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: computing)
    with keeper(told, "cuda:1") as kept:
        kept.keep(0, SOLVED)
    assert told.done == [
        "now", "on it", "wait for now", "write", "sync", "journal 0", "all is copied", "off it", "told of 0",
    ]  # fmt: skip
