"""The processes of one run, as torchrun starts them: which part each takes, and what they tell each other."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from importlib import import_module
from types import TracebackType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from .checkpoint.layout import DTYPE_NAMES, DTYPES
from .errors import CommunicationError, ConfigError, DiskError, FmcompressError, RankFailed, in_one_line

WRITER = 0  # the one rank that touches OUT
# a solve may take hours; a process that ends is noticed by its closed connection, a machine that vanishes only so
PATIENCE = timedelta(hours=12)
# default arguments in them bind the process group that there is when they are imported, as models may do: it would
# outlive its end with its threads, which now and then abort a process that exits
BINDING = ("torch.distributed.nn", "torch.distributed.optim", "torch.distributed.fsdp")
TOLD, INPUT = "fmcompress/told", "fmcompress/input"  # in the store: how many ranks have failed; whether of bad input


def assign(costs: Sequence[float], count: int) -> list[int]:
    """Which of `count` ranks takes each of the jobs: the dearest first, to whoever has least. Equal on all ranks."""
    loads, owners = [0.0] * count, [0] * len(costs)
    for job in sorted(range(len(costs)), key=lambda job: (-costs[job], job)):
        owners[job] = loads.index(min(loads))
        loads[owners[job]] += costs[job]
    return owners


class Ranks:
    """The processes of a run. Ranks() is one process alone, for which every method is trivial.

    store    a torch.distributed.Store that all of them reach
    rank     of this process; rank WRITER writes, the others compute
    count    how many there are
    seconds  spent in exchanges, waiting for slower ranks included

    A context manager: inside, the processes are connected. All must call sum_(), share() and gather() in the same
    order. Of an error that ends one of them the others hear by CommunicationError, or by RankFailed where it lay in the
    input, from the next of these calls; at the end of the context one rank raises on and the others exit with code 1.
    """

    def __init__(self, store: Any = None, rank: int = 0, count: int = 1) -> None:
        self.rank, self.count, self.seconds = rank, count, 0.0
        self._store = store
        self._before: Any = None

    @staticmethod
    def of_environment() -> "Ranks":
        """The ranks that torchrun tells of by RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT; Ranks() without it.

        Also gives each of several processes on a machine its share of the cores, unless OMP_NUM_THREADS is set to more
        than 1: torchrun itself sets 1.

        Raises ConfigError for half an environment, CommunicationError if nobody answers.
        """
        if os.environ.get("WORLD_SIZE", "1") == "1":
            return Ranks()
        try:
            store, rank, count = next(iter(rendezvous("env://", timeout=timedelta(minutes=5))))
        except ValueError as error:
            raise ConfigError(f"WORLD_SIZE: is set, but {in_one_line(error)}. Start with torchrun.") from None
        except RuntimeError as error:
            raise CommunicationError(f"torchrun: the ranks do not find each other ({in_one_line(error)}).") from None
        if os.environ.get("OMP_NUM_THREADS", "1") == "1":
            here = int(os.environ.get("LOCAL_WORLD_SIZE", count))
            torch.set_num_threads(max(1, _cores() // here))
        return Ranks(store, rank, count)

    def __enter__(self) -> "Ranks":
        if self.count > 1:
            for module in BINDING:
                import_module(module)
            backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
            dist.init_process_group(backend, store=self._store, rank=self.rank, world_size=self.count, timeout=PATIENCE)
            if threading.current_thread() is threading.main_thread():
                self._before = signal.signal(signal.SIGTERM, self._terminated)
        return self

    def __exit__(self, _: type | None, error: BaseException | None, __: TracebackType | None) -> None:
        if self.count == 1:
            return
        first = error is None or self._tell(error)
        with suppress(RuntimeError, ValueError):
            dist.destroy_process_group()
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
        if not first:
            raise SystemExit(1) from None  # one rank tells a person, not all

    @property
    def is_writer(self) -> bool:
        """Whether this process writes OUT and talks to the person."""
        return self.rank == WRITER

    def device(self, device: torch.device) -> torch.device:
        """A GPU of its own for each process of a machine; other devices as they are. Raises ConfigError if too few."""
        if self.count == 1 or device.type != "cuda":
            return device
        local, here = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
        if device.index is not None:
            raise ConfigError(f"device: each process takes a GPU of its own, got {device} for all. Use --device cuda.")
        if local >= here:
            raise ConfigError(f"torchrun: {local + 1} processes or more on {here} GPUs. Lower --nproc-per-node.")
        torch.cuda.set_device(local)
        return torch.device("cuda", local)

    def shard(self, rows: Tensor) -> Tensor:
        """This rank's part of the rows, in their order: as many as another's, or one more or less; maybe none."""
        return rows.tensor_split(self.count)[self.rank]

    def sum_(self, tensor: Tensor) -> Tensor:
        """The sum over the ranks, in place, in an order that only their number decides. Contiguous, CPU or own GPU."""
        if self.count > 1 and tensor.numel():
            self._run(dist.all_reduce, tensor)
        return tensor

    def share(
        self,
        value: Any = None,
        tensors: Sequence[Tensor] = (),
        *,
        owner: int = WRITER,
        device: str | torch.device = "cpu",
    ) -> tuple[Any, list[Tensor]]:
        """A JSON value and tensors of one rank, on all of them; what the others pass is not looked at.

        device  where the tensors of the others shall be, and by which way they travel
        """
        if self.count == 1:
            return value, list(tensors)
        sends = self.rank == owner
        forms = [[DTYPE_NAMES[tensor.dtype], list(tensor.shape)] for tensor in tensors] if sends else []
        text = bytearray(json.dumps([value, forms]).encode()) if sends else bytearray()
        length = torch.tensor([len(text)])
        self._run(dist.broadcast, length, owner)
        raw = torch.frombuffer(text, dtype=torch.uint8) if sends else torch.empty(int(length), dtype=torch.uint8)
        self._run(dist.broadcast, raw, owner)
        if sends:
            received = [tensor.to(device).contiguous() for tensor in tensors]
        else:
            value, forms = json.loads(raw.numpy().tobytes())
            received = [torch.empty(shape, dtype=DTYPES[dtype], device=device) for dtype, shape in forms]
        for tensor in received:
            if tensor.numel():  # as bytes: not every dtype of a checkpoint is one of gloo's
                self._run(dist.broadcast, tensor.view(-1).view(torch.uint8), owner)
        return value, list(tensors) if sends else received

    def gather(self, value: Any) -> list[Any]:
        """The JSON values of all ranks, in their order, on each of them."""
        return [self.share(value, owner=owner)[0] for owner in range(self.count)]

    def require_equal(self, facts: dict[str, Any]) -> None:
        """Raise ConfigError on a rank whose facts are others than the writer's."""
        expected = self.share(facts)[0]
        for key, value in facts.items():
            if expected[key] != value:
                raise ConfigError(
                    f"{key}: is {value!r} on rank {self.rank} and {expected[key]!r} on rank {WRITER}. "
                    "Give all machines the same model, text and software."
                )

    def _run(self, collective: Callable[..., Any], tensor: Tensor, *args: Any) -> None:
        begin = time.perf_counter()
        try:
            collective(tensor, *args)
        except RuntimeError as error:
            raise self._ended(in_one_line(error, 120)) from None
        self.seconds += time.perf_counter() - begin

    def _ended(self, how: str) -> FmcompressError:
        """What to raise when another rank is gone."""
        if self._before is not None:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun's, which would cut short what follows
        with suppress(RuntimeError):
            if self._store is not None and self._store.check([INPUT]):
                return RankFailed("another rank met an error in what it was given, and has told of it.")
        return CommunicationError(
            f"another rank ended ({how}). Finished blocks are kept: the same command with --resume goes on, also with "
            "another number of ranks."
        )

    def _terminated(self, *_: object) -> None:
        raise self._ended("this one was told to end, too, by SIGTERM")

    def _tell(self, error: BaseException) -> bool:
        """Let the other ranks know of an error before the connections close. Returns whether it is the first."""
        assert self._store is not None
        try:
            if isinstance(error, FmcompressError) and not isinstance(error, (DiskError, CommunicationError)):
                self._store.set(INPUT, "1")
            return self._store.add(TOLD, 1) == 1
        except RuntimeError:  # the store went with the rank that held it
            return True


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
