"""What the benches of a GPU share: the clock, the ceilings of the machine, and the row that a measurement becomes.

Every bench that gpu_check.sh runs ends in `Rows.write` or `Rows.end`, and is ended at its limit of time: with a path,
Rows writes after each row what there is. gpu_table.py puts all of them into one JSON and one Markdown table. With
--small they run in seconds on any machine, so that the tests can rehearse them; what they measure then says nothing of
a GPU, and the rows say so.
"""

import argparse
import contextlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch

from fmcompress.measured import machine

ROUNDS = 20
Result = TypeVar("Result")


@dataclass(frozen=True)
class Row:
    """One measurement, its baseline and its floors.

    group             what the table is divided by: "layer solve", "Hessian", "CocktailSGD", "packed matvec", ...
    case              shape and method, in words
    seconds           of one run, the median
    baseline          what does the same without this package, in words, and its seconds in the same run
    bytes             that a run must move through the device's memory, read and written, each once
    flops             that it must do, and at which of the machine's rates
    most_s, least_speedup, least_of_floor
                      the targets: seconds at most, times the baseline at least, share of the larger floor at least
    facts             what else is worth a column of the JSON
    """

    group: str
    case: str
    seconds: float
    baseline: str | None = None
    baseline_s: float | None = None
    bytes: float = 0.0
    flops: float = 0.0
    rate: str = "float32"
    most_s: float | None = None
    least_speedup: float | None = None
    least_of_floor: float | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def speedup(self) -> float | None:
        """Times as fast as the baseline."""
        return None if self.baseline_s is None else self.baseline_s / self.seconds

    def met(self, floor_s: float) -> bool | None:
        """Whether all targets are met; None where there is none."""
        found = []
        if self.most_s is not None:
            found.append(self.seconds <= self.most_s)
        if self.least_speedup is not None:
            found.append(self.speedup is not None and self.speedup >= self.least_speedup)
        if self.least_of_floor is not None:
            found.append(floor_s >= self.least_of_floor * self.seconds)
        return all(found) if found else None


class Rows:
    """The measurements of one bench on one device."""

    def __init__(self, device: torch.device, *, small: bool, path: Path | None = None) -> None:
        self.device, self.small, self.path = device, small, path
        self.rows: list[Row] = []
        self.failed: list[str] = []

    @contextlib.contextmanager
    def case(self) -> Iterator[None]:
        """A case that hides no other: where it ends the bench or raises, that is said at the end."""
        try:
            yield
        except (Exception, SystemExit) as error:
            self.failed.append(str(error) if isinstance(error, SystemExit) else f"{type(error).__name__}: {error}")
            print(self.failed[-1], flush=True)

    def end(self) -> None:
        """Write for the last time; a case that failed makes the bench end with 1."""
        self.write(self.path)
        if self.failed:
            sys.exit("; ".join(self.failed))

    def add(self, row: Row) -> None:
        """Note a measurement, and say so; where a path is known it is on disk before the next one is begun."""
        self.rows.append(row)
        self.write(self.path)
        beside = "" if row.speedup is None else f", {row.speedup:.1f} x {row.baseline}"
        print(f"{row.group}: {row.case}: {1e3 * row.seconds:.4g} ms{beside}", flush=True)

    def write(self, path: Path | None) -> None:
        """Into a JSON file: the machine, its ceilings, and the rows with their floors."""
        if path is None:
            return
        ceilings = measured_ceilings(self.device, small=self.small)
        rows = []
        for row in self.rows:
            floors = {"bytes_floor_s": row.bytes / ceilings["copy"], "flops_floor_s": row.flops / ceilings[row.rate]}
            floor = max(floors.values())
            rows.append({**asdict(row), **floors, "speedup": row.speedup, "met": row.met(floor)})
        about = {"machine": machine(self.device), "small": self.small, "ceilings": ceilings}
        partial = path.with_name(f".{path.name}")
        partial.write_text(json.dumps({**about, "rows": rows}, indent=1))
        partial.replace(path)  # whoever is ended while writing leaves the rows before


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The options that all of these benches have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--small", action="store_true", help="tiny shapes: a rehearsal, which any machine can run")
    parser.add_argument("--json", type=Path, help="where the rows go, too")
    return parser


def synchronize(device: torch.device) -> None:
    """Wait for a GPU; a CPU never keeps one waiting."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def once(run: Callable[[], Result], device: torch.device) -> tuple[float, Result]:
    """Seconds of one run, and what it returned."""
    if device.type != "cuda":
        start = time.perf_counter()
        found = run()
        return time.perf_counter() - start, found
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    found = run()
    end.record()
    torch.cuda.synchronize(device)
    return begin.elapsed_time(end) / 1e3, found


def seconds(
    runs: Callable[[], object] | Sequence[Callable[[], object]], device: torch.device, rounds: int = 0
) -> float:
    """Median time of one run, of several that are taken in turn, so that none finds its inputs in the cache."""
    given = [runs] if callable(runs) else list(runs)
    for run in given[:2]:
        run()  # what is compiled, loaded or allocated once
    synchronize(device)
    return statistics.median(once(given[number % len(given)], device)[0] for number in range(rounds or ROUNDS))


def graphed(runs: Callable[[], object] | Sequence[Callable[[], object]], device: torch.device) -> Callable[[], object]:
    """All of the runs as one replay of a CUDA graph, free of Python; on a CPU the runs themselves, one by one."""
    given = [runs] if callable(runs) else list(runs)

    def all_of_them() -> None:
        for run in given:
            run()

    if device.type != "cuda":
        return all_of_them
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        given[0]()  # what is compiled, loaded or allocated once
    torch.cuda.current_stream(device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        all_of_them()
    return graph.replay


def cache_bytes(device: torch.device) -> int:
    """Of the last cache before the device's memory."""
    return torch.cuda.get_device_properties(device).L2_cache_size if device.type == "cuda" else 32 << 20


@cache
def measured_ceilings(device: torch.device, *, small: bool) -> dict[str, float]:
    """Bytes a second of a copy, read and written, and operations a second of large products of random numbers."""
    size, width = (1 << 22, 256) if small else (1 << 30, 8192)
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    found = {"copy": 2 * size / seconds(lambda: target.copy_(source), device)}
    generator = torch.Generator(device).manual_seed(0)
    for dtype in (torch.float32, torch.bfloat16):
        a, b = (torch.randn(width, width, generator=generator, device=device).to(dtype) for _ in range(2))
        name = str(dtype).removeprefix("torch.")
        found[name] = 2 * width**3 / seconds(lambda a=a, b=b: a @ b, device, 10)
    return found
