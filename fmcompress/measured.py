"""What a run measured: seconds, memory and the machine, one JSON line an event. Unlike all else it writes, these differ
from one run to the next."""

import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import torch

from . import _backends
from .checkpoint import write_error
from .checkpoint.layout import MEASURED
from .job import Observer
from .memory import peak_memory_bytes, resident_bytes
from .phases import Phases


class Recorder:
    """An observer that notes what it sees in a file of a folder, and tells another observer.

    begin   time.perf_counter() when the run began
    phases  where its seconds went until a block or the run is finished

    The file only grows: a run that goes on with an earlier one adds its lines to those. Raises DiskError if it cannot
    be written.
    """

    def __init__(self, folder: Path, device: torch.device, observer: Observer, begin: float, phases: Phases) -> None:
        self.path, self.device, self.observer, self.phases = folder / MEASURED, device, observer, phases
        self._begin = begin

    def start(self, blocks: int, done: int) -> None:
        """See job.Observer."""
        self._write({"run": {"blocks": blocks, "done": done, **machine(self.device)}})
        self.observer.start(blocks, done)

    def layer(self, block: int, record: dict[str, Any]) -> None:
        """See job.Observer."""
        self._write({"block": block, "layer": record["tensor"], "seconds": record.get("seconds", {})})
        self.observer.layer(block, record)

    def training(self, block: int, done: int, steps: int) -> None:
        """See job.Observer."""
        if done == steps:
            self._write({"block": block, "trained": True})
        self.observer.training(block, done, steps)

    def block(self, block: int) -> None:
        """See job.Observer."""
        self._write({"block": block, "finished": True, "phases": self.phases.rounded()})
        self.observer.block(block)

    def note(self, text: str) -> None:
        """See job.Observer."""
        self.observer.note(text)

    def finished(self) -> None:
        """Everything is written and checked, and OUT is about to appear."""
        self._write({"finished": True, "phases": self.phases.rounded()})

    def _write(self, event: dict[str, Any]) -> None:
        memory = {"resident_bytes": resident_bytes(), "peak_bytes": peak_memory_bytes()}
        if self.device.type == "cuda":
            memory["gpu_bytes"] = torch.cuda.memory_allocated(self.device)
            memory["gpu_peak_bytes"] = torch.cuda.max_memory_allocated(self.device)
        line = {"at_s": round(time.perf_counter() - self._begin, 6), **event, **memory}
        try:
            with self.path.open("a+b") as file:
                if file.tell() and not _ends_a_line(file):  # a kill cut it short
                    file.write(b"\n")
                file.write(json.dumps(line).encode() + b"\n")
        except OSError as error:
            raise write_error(self.path, error) from None


def machine(device: torch.device) -> dict[str, Any]:
    """What of a machine decides how fast it is."""
    facts = {
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "architecture": platform.machine(),
        "native": _backends.explain()["native"],
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": device.type,
    }
    return facts if device.type != "cuda" else {**facts, "gpu": torch.cuda.get_device_name(device)}


def _ends_a_line(file: Any) -> bool:
    file.seek(-1, os.SEEK_END)
    return bool(file.read(1) == b"\n")
