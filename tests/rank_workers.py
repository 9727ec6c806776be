"""Runs of several ranks, in processes of their own on gloo; what each returned or raised comes back to the test."""

import contextlib
import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from gradients.workers import start
from helpers import CPU, Silent
from pretend_cuda import pretend_cuda

from fmcompress import pipeline
from fmcompress.config import PruneConfig, QuantizeConfig
from fmcompress.errors import CalibrationError, DiskError
from fmcompress.ranks import Ranks

PATIENCE_S = 120  # a test that hangs fails


@dataclass
class End:
    """How a rank ended: what its task returned, or the error and its type, or neither if it was killed."""

    value: Any = None
    error: str = ""
    kind: str = ""
    code: int | None = None


def _enter(rank: int, task: Callable[..., Any], count: int, folder: str, args: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    end = {}
    pretended = pretend_cuda() if os.environ.get("FMCOMPRESS_PRETEND_CUDA") else contextlib.nullcontext()
    try:
        with pretended, Ranks(dist.FileStore(f"{folder}/store", count), rank, count) as ranks:
            end["value"] = task(ranks, *args)
    except BaseException as error:
        end |= {"error": str(error), "kind": type(error).__name__}
    Path(folder, f"{rank}.json").write_text(json.dumps(end))


def on_ranks(task: Callable[..., Any], count: int, folder: Path, *args: Any) -> list[End]:
    """task(ranks, *args) on each of `count` ranks."""
    folder.mkdir(parents=True)
    processes = start(_enter, (task, count, str(folder), args), count).processes
    try:
        for process in processes:
            process.join(PATIENCE_S)
            assert process.exitcode is not None, "a rank hangs"
    finally:
        for process in processes:
            process.kill()
    paths = [folder / f"{rank}.json" for rank in range(count)]
    told = [json.loads(path.read_text()) if path.exists() else {} for path in paths]
    return [End(**some, code=process.exitcode) for some, process in zip(told, processes, strict=True)]


def compress(
    ranks: Ranks, home: Path, out: Path, options: dict[str, Any], resume: bool = False, text: str = ""
) -> dict:
    """A whole run on home/model and home/text.txt; returns the facts, {} on all ranks but the writer."""
    config = (PruneConfig if options.keys() & {"sparsity", "pattern"} else QuantizeConfig)(**options)
    calibration = home / (text or "text.txt") if config.needs_data else None
    job = pipeline.prepare(home / "model", config, calibration, CPU, ranks=ranks)
    return pipeline.compress_checkpoint(job, out, Silent(), resume=resume)


def compress_elsewhere(ranks: Ranks, home: Path, out: Path, options: dict[str, Any]) -> dict:
    """As compress(), with an OUT that exists on the writer only."""
    return compress(ranks, home, out if ranks.is_writer else Path("/nowhere/at/all"), options)


def compress_unequally(ranks: Ranks, home: Path, out: Path, options: dict[str, Any], texts: list[str]) -> dict:
    """As compress(), each rank with a text of its own."""
    return compress(ranks, home, out, options, text=texts[ranks.rank])


def fail(ranks: Ranks, home: Path, out: Path, options: dict[str, Any], rank: int, how: str, resume: bool) -> dict:
    """As compress(); one rank meets a misfortune at block 2."""
    real = pipeline.solve_block

    def unlucky(job: Any, index: int, *args: Any) -> Any:
        if index == 2 and ranks.rank == rank:
            if how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise {"input": CalibrationError, "disk": DiskError, "bug": MemoryError}[how]("a misfortune")
        return real(job, index, *args)

    pipeline.solve_block = unlucky
    return compress(ranks, home, out, options, resume)
