"""How long the compression of a training step takes on this machine, measured beside a plain copy."""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor

from .. import ops
from ..errors import ConfigError
from ..memory import available_bytes
from .config import CocktailConfig
from .finite import finite
from .sharded_mean import MAX_WORKERS, shards_of

COPY = "copy"
_TENSORS = 5  # float32, of all elements
# how often the ops run in a step of: cocktail_hook; CocktailSGD, and with delay=1, which adds and takes back its own
STEPS = {
    "cocktail_hook": {"finite": 1, "compress_gradient_": 1, "compress_mean_": 1, "zero_": 1, "add_payload_": 1},
    "CocktailSGD": {"finite": 1, "compress_delta_": 1, "compress_mean_": 1, "add_payload_": 2},
    "CocktailSGD, delay=1": {"finite": 1, "compress_delta_": 1, "compress_mean_": 1, "add_payload_": 4},
}


@dataclass(frozen=True)
class OpSpeeds:
    """Median seconds of each op, and the bytes that it must move, by name.

    numel    elements that the ops were run on; compress_mean_ on one of `workers` shards of them
    seconds  of "copy", "finite", "zero_" and of the ops in fmcompress.ops
    moved    bytes, each counted once, see moved_bytes()
    threads  of PyTorch
    """

    numel: int
    workers: int
    threads: int
    seconds: Mapping[str, float]
    moved: Mapping[str, int]

    def rate(self, name: str) -> float:
        """Bytes a second."""
        return self.moved[name] / self.seconds[name]

    def share(self, name: str) -> float:
        """Of the rate at which a copy moves bytes."""
        return self.rate(name) / self.rate(COPY)

    def step(self, name: str, parameters: int) -> float:
        """Seconds that a worker compresses and decodes in a step of one of STEPS, in proportion to the parameters."""
        return parameters / self.numel * sum(times * self.seconds[op] for op, times in STEPS[name].items())


def touched_elements(payload: Tensor, layout: ops.Layout) -> int:
    """Of the cache lines of float32 that have a kept element. payload [layout.payload_bytes] uint8"""
    bodies = payload[ops.HEADER_BYTES :].view(layout.sampled, layout.block_bytes)
    lines = bodies[:, : layout.mask_bytes].contiguous().view(torch.int16)
    return 16 * int((lines != 0).sum()) if layout.mask_bytes else layout.sampled * layout.block


def moved_bytes(numel: int, payload: Tensor, layout: ops.Layout) -> dict[str, int]:
    """Bytes of float32 tensors of so many elements, and of payloads like this one, that each op has to move, by name:

    - copy: 8 for an element, read and written
    - compress_gradient_: 12 for an element: gradient read, residual read and written. The pass before it that looks
      for infinities reads 4 more; they are not counted
    - compress_delta_: 12 for a sampled element: two read, one written; what is read twice counts once
    - finite: 4 for an element, read; what the hook and CocktailSGD look at before anything changes
    - zero_: 4 for an element, written
    - add_payload_: the payload, and 8 for each of the 16 elements of a cache line of the output that has a kept one
    """
    sampled = min(numel, layout.sampled * layout.block)
    return {
        COPY: 8 * numel,
        "compress_gradient_": 12 * numel,
        "compress_delta_": 12 * sampled,
        "finite": 4 * numel,
        "zero_": 4 * numel,
        "add_payload_": layout.payload_bytes + 8 * touched_elements(payload, layout),
    }


def mean_bytes(numel: int, layout: ops.Layout, workers: int) -> int:
    """Bytes that compress_mean_ has to move: the payloads, and 8 for a sampled element, its residual."""
    return workers * layout.payload_bytes + 8 * min(numel, layout.sampled * layout.block)


def in_turn(
    runs: Mapping[str, Callable[[], Any]],
    rounds: int,
    wait: Callable[[], Any] = lambda: None,
    progress: Callable[[int, int], Any] = lambda done, total: None,
) -> dict[str, float]:
    """Median seconds of each, every round running all of them; the first round does not count.

    wait      for a device to finish
    progress  called with (rounds done, rounds in all)
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    for i in range(rounds + 1):
        for name, run in runs.items():
            wait()
            begin = time.perf_counter()
            run()
            wait()
            times[name].append(time.perf_counter() - begin)
        progress(i + 1, rounds + 1)
    return {name: median(values[1:]) for name, values in times.items()}


def measure_ops(
    numel: int,
    config: CocktailConfig,
    workers: int,
    *,
    runs: int = 15,
    threads: int | None = None,
    device: torch.device | None = None,
    progress: Callable[[int, int], Any] = lambda done, total: None,
) -> OpSpeeds:
    """Run every op on float32 tensors of so many elements, in turn; what reads gradients or models, on another sample
    every time, as in a training.

    workers   whose payloads compress_mean_ averages, for one of as many shards
    runs      of each, after one that does not count
    threads   of PyTorch meanwhile; None: as many as it has
    device    None: the CPU
    progress  called with (rounds done, rounds in all)

    Raises ConfigError for numbers that do not fit, and where there is no memory for five such tensors.
    """
    device = device or torch.device("cpu")
    for name, value, most in (("workers", workers, MAX_WORKERS), ("runs", runs, 10_000), ("numel", numel, 1 << 40)):
        if not 1 <= value <= most:
            raise ConfigError(f"{name}: expected 1 to {most}, got {value}.")
    if threads is not None and not 1 <= threads <= 1024:
        raise ConfigError(f"threads: expected 1 to 1024, got {threads}.")
    _require_memory(4 * _TENSORS * numel + 3 * config.payload_bytes(numel), numel, device)
    with _threads(threads):
        calls, moved = _calls(numel, config, workers, device)
        wait = (lambda: torch.cuda.synchronize(device)) if device.type == "cuda" else (lambda: None)
        return OpSpeeds(numel, workers, torch.get_num_threads(), in_turn(calls, runs, wait, progress), moved)


def _calls(
    numel: int, config: CocktailConfig, workers: int, device: torch.device
) -> tuple[dict[str, Callable[[], Any]], dict[str, int]]:
    """What is timed, by name, and the bytes that it moves."""
    generator = torch.Generator(device).manual_seed(0)
    gradient, residual, local, shared = (torch.randn(numel, generator=generator, device=device) for _ in range(4))
    out = torch.zeros(numel, device=device)
    shard = shards_of(numel, workers)[0]
    layout, part = config.layout(numel), config.layout(shard.stop)
    payload = ops.compress_gradient_(gradient, None, layout)
    payloads = ops.compress_gradient_(gradient[shard], None, part).repeat(workers, 1)
    gradient_steps, delta_steps = itertools.count(), itertools.count()
    calls: dict[str, Callable[[], Any]] = {
        COPY: lambda: out.copy_(gradient),
        "finite": lambda: bool(finite([gradient])),
        "compress_gradient_": lambda: ops.compress_gradient_(
            gradient, residual, layout._replace(step=next(gradient_steps))
        ),
        "compress_delta_": lambda: ops.compress_delta_(local, shared, layout._replace(step=next(delta_steps))),
        "compress_mean_": lambda: ops.compress_mean_(payloads, residual[shard], shard.stop, part),
        "zero_": out.zero_,
        "add_payload_": lambda: ops.add_payload_(payload, out, layout),
    }
    moved = {**moved_bytes(numel, payload, layout), "compress_mean_": mean_bytes(shard.stop, part, workers)}
    return calls, {name: moved[name] for name in calls}


def _require_memory(needed: int, numel: int, device: torch.device) -> None:
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available_bytes()
    if free is not None and needed > free:
        what = f"{_TENSORS} tensors of {numel} elements and payloads"
        raise ConfigError(f"numel: {what} take {needed} bytes, and {free} are free. Lower it.")


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
