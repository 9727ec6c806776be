"""Which form of a checkpoint a run writes, how its blocks get there, and whether all of it was solved."""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from .errors import CheckpointError
from .exchange import Solved
from .formats import CompressedTensorsOutput, DenseOutput, LayerStore, Output, PackedOutput
from .job import Job, Observer
from .journal import Journal
from .preflight import encoded_space
from .workspace import Workspace


def output_of(job: Job, workspace: Workspace) -> Output:
    """The writer of the form that was asked for."""
    config, store = job.config, LayerStore(workspace.partial / "layers")
    chosen = {layer.tensor for some in job.layers for layer in some.values()}
    if config.written_as == "dense":
        # a GPU has the time to write them later; a CPU is faster at overwriting what a copy has left in the page cache
        return DenseOutput(job.source, workspace.output, chosen if job.device.type == "cuda" else ())
    needed = encoded_space(job.source, job.layers, job.plan)
    if config.written_as == "packed":
        return PackedOutput(job.source, workspace.output, store, needed, config.target())
    grid = config.grid()
    assert grid is not None
    linear = all(layer.is_linear for some in job.layers for layer in some.values())
    if job.streamed is None or not linear:  # experts have no module of their own in the model: by their names
        targets, ignore = sorted(name.removesuffix(".weight") for name in chosen), []
    else:
        linears = [(n, m) for n, m in job.streamed.model.named_modules() if isinstance(m, nn.Linear)]
        targets, ignore = ["Linear"], sorted(n for n, m in linears if job.streamed.tensor_name(m) not in chosen)
    return CompressedTensorsOutput(job.source, workspace.output, store, needed, grid, targets, ignore)


def check_complete(job: Job, records: list[dict[str, Any]]) -> None:
    """Every chosen layer must have been solved once, whatever the journal of an earlier run says."""
    chosen = sorted(layer.tensor for some in job.layers for layer in some.values())
    if sorted(record["tensor"] for record in records) != chosen:
        raise CheckpointError("the journal of the earlier run does not name every layer once. Use --force.")


class Keeper:
    """Writes finished blocks, each noted in the journal when it is on disk, in order.

    behind  whether a block is written in a thread of its own while the next one is computed, which a GPU does

    A context manager: at its end everything is on disk, or what was begun has ended. Errors of the thread are raised
    by the next call.
    """

    def __init__(self, job: Job, output: Output, journal: Journal, observer: Observer, *, behind: bool) -> None:
        self.job, self.output, self.journal, self.observer = job, output, journal, observer
        self._thread = ThreadPoolExecutor(1, "fmcompress-write") if behind else None
        self._writing: tuple[int, Future[None]] | None = None
        self._stream: torch.cuda.Stream | None = None

    def __enter__(self) -> "Keeper":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._wait()
        finally:
            if self._thread is not None:
                self._thread.shutdown()

    def keep(self, index: int, solved: list[Solved]) -> None:
        """Write the layers of a finished block, then note them in the journal."""
        if self._thread is None:
            with self.job.phases.of("write"):
                self._write(index, solved)
            self.observer.block(index)
            return
        self._wait()  # no more than one block waits in memory, and none is noted before an earlier one
        self._writing = index, self._thread.submit(self._write_behind, index, solved, _now(self.job.device))

    def read(self, name: str) -> Tensor:
        """A tensor of the output, once all that was finished is in it."""
        self._wait()
        return self.output.read(name)

    def _wait(self) -> None:
        if self._writing is not None:
            index, future = self._writing
            self._writing = None
            with self.job.phases.of("write"):
                future.result()
            self.observer.block(index)

    def _write_behind(self, index: int, solved: list[Solved], ready: torch.cuda.Event | None) -> None:
        if ready is None:
            return self._write(index, solved)
        # a stream of its own: copies to the host wait for this block's results, not for the next block's work
        self._stream = self._stream or torch.cuda.Stream(self.job.device)
        with torch.cuda.stream(self._stream):
            self._stream.wait_event(ready)
            self._write(index, solved)
            self._stream.synchronize()  # only then may the memory of the results be used again

    def _write(self, index: int, solved: list[Solved]) -> None:
        for record, result in solved:
            turned = record.get("transposed", False)
            self.output.write(record["tensor"], replace(result, weight=result.weight.T) if turned else result)
        self.output.flush()
        self.journal.append({"block": index, "layers": [record for record, _ in solved]})


def _now(device: torch.device) -> torch.cuda.Event | None:
    """When all is done that a GPU was told until now."""
    return torch.cuda.current_stream(device).record_event() if device.type == "cuda" else None
