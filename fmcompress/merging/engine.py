"""Writes a merged checkpoint: every file sized up front, tensors merged block by block and written in place."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from ..errors import CheckpointError
from ..in_order import one_thread_an_op
from .method import Blocks
from .plan import MergePlan, TensorPlan
from .sources import BlockReader
from .target import Target

Progress = Callable[[int, int, str], None]


def write_tensors(plan: MergePlan, folder: Path, progress: Progress) -> None:
    """Write all shards of a merge into a folder, and sync them. See merge_checkpoints."""
    target = Target(folder, plan.shards)
    work = _Work(plan, target, progress)
    try:
        with one_thread_an_op(), ThreadPoolExecutor(plan.workers) as pool:
            workers = [pool.submit(work.run, BlockReader(plan.block_entries)) for _ in range(plan.workers)]
            try:
                for worker in workers:
                    worker.result()
            finally:
                work.stopped.set()  # Ctrl-C, or an error of one of them
        target.finish()
    finally:
        target.close()


class _Stopped(Exception):
    """Another worker has failed, or a person has had enough."""


class _Work:
    """The tensors that are still to be merged, and what all workers do with each."""

    def __init__(self, plan: MergePlan, target: Target, progress: Progress) -> None:
        self.plan, self.target, self.progress = plan, target, progress
        self.method = plan.recipe.method.load()
        self.stopped = threading.Event()
        self._lock, self._left, self._done = threading.Lock(), iter(plan.tensors), 0
        self._total = sum(one.written.size_bytes for one in plan.tensors)

    def run(self, reader: BlockReader) -> None:
        """Merge one tensor after the other until none is left or another worker failed."""
        try:
            while not self.stopped.is_set():
                with self._lock:
                    one = next(self._left, None)
                if one is None:
                    return
                self._merge(one, reader)
                self.target.tensor_done(one.written)
        except _Stopped:
            return
        except BaseException:
            self.stopped.set()
            raise

    def _merge(self, one: TensorPlan, reader: BlockReader) -> None:
        models = self.plan.sources if one.settings is not None else self.plan.sources[:1]
        with reader.open(one.name, models, one.read) as blocks:
            watched = self._watched(one, blocks)
            merge = _copy if one.settings is None else self.method(one.settings, watched)
            for begin, block in watched():
                out = reader.buffer("out", (block.shape[1],), one.written.dtype)
                if int(merge(begin, block, out)):
                    self._check_sources(one, block)
                    raise CheckpointError(
                        f"{one.name}: the merged tensor is beyond the range of {_told(out.dtype)}. Choose a wider "
                        "out_dtype, such as bfloat16 or float32, or smaller weights."
                    )
                self.target.write(one.written, begin, out)
                self._tell(out.numel() * out.itemsize, one.name)

    def _watched(self, one: TensorPlan, blocks: Blocks) -> Blocks:
        """Blocks that stop where all is to end, checked before a method sees them where it would hide NaN."""
        hides = one.settings is not None and not self.plan.recipe.method.sees_all

        def watched() -> Iterator[tuple[int, Tensor]]:
            for begin, block in blocks():
                if self.stopped.is_set():
                    raise _Stopped
                if hides:
                    self._check_sources(one, block)
                yield begin, block

        return watched

    def _check_sources(self, one: TensorPlan, block: Tensor) -> None:
        for source, row in zip(self.plan.sources, block, strict=True):
            if not row.isfinite().all():
                raise CheckpointError(
                    f"{one.name}: {source.label} holds inf or NaN in it. Merge models that are sound."
                )

    def _tell(self, count: int, name: str) -> None:
        with self._lock:
            self._done += count
            self.progress(self._done, self._total, name)


def _copy(begin: int, sources: Tensor, out: Tensor) -> Tensor:
    out.copy_(sources[0])
    return torch.zeros((), dtype=torch.int64)


def _told(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
