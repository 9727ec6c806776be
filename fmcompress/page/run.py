"""What stands in the files of a run, finished or going on. They may come from a stranger: nothing in them is believed
that has not the right type and size."""

import json
import math
import re
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from ..checkpoint import read_error
from ..checkpoint.layout import FACTS, MEASURED
from ..divergence import Comparison
from ..errors import CheckpointError, ConfigError, FmcompressError, in_one_line
from ..journal import FILE

Count = Annotated[int, Field(ge=0, le=1 << 60)]
Number = Annotated[float, Field(ge=0, le=1e18, allow_inf_nan=False)]
Measure = Annotated[float, Field(allow_inf_nan=True)]  # what a solver may have failed to tell
WAITED, TRAINED, WROTE = "calibrate", "reconstruct", "write"  # phases that are what lies between two events


class Layer(BaseModel):
    """A solved layer, as its record in fmcompress.json has it."""

    tensor: str
    rows: Count
    cols: Count
    zeros: Count
    sparsity: Number
    keep: Count | None = None
    group: Count | None = None
    bits: Count | None = None
    loss: Measure | None = None
    relative_error: Measure | None = None
    damping: Number = 0.0
    dead_columns: Count = 0
    tokens: Count = 0
    block_error: Measure | None = None
    block_error_before: Measure | None = None

    @cached_property
    def block(self) -> int:
        """The first number in its name; 0 without one."""
        found = re.search(r"(?:^|\.)(\d{1,6})(?:\.|$)", self.tensor)
        return int(found[1]) if found else 0

    @cached_property
    def kind(self) -> str:
        """Its name inside of a block, the same in all of them."""
        name = self.tensor.removesuffix(".weight")
        inside = re.split(r"(?:^|\.)\d{1,6}\.", name, maxsplit=1)[-1]
        return re.sub(r"(^|\.)\d+(?=\.|$)", r"\1*", inside)


class Facts(BaseModel):
    """fmcompress.json; of a run that is going on as much as can be told."""

    config: dict[str, Any]
    layers: list[Layer]
    fmcompress: str = ""
    torch: str = ""
    native: str = ""
    format: str = ""
    calibration_sequences: Count = 0
    calibration_tokens: Count = 0
    weights: Count = 0
    zeros: Count = 0
    bytes_before: Count | None = None
    bytes_after: Count | None = None
    bits_per_weight: Number | None = None
    checkpoint_bytes_before: Count | None = None
    checkpoint_bytes_after: Count | None = None
    notes: list[str] = []


class Event(BaseModel):
    """A line of the measured file."""

    at_s: Number
    block: Count | None = None
    layer: str | None = None
    finished: bool = False
    trained: bool = False
    seconds: dict[str, Number] = {}
    run: dict[str, str | int | float | None] | None = None
    resident_bytes: Count = 0
    peak_bytes: Count = 0
    gpu_bytes: Count | None = None
    gpu_peak_bytes: Count | None = None


@dataclass
class Run:
    """A run to be drawn.

    sessions  the events of each start of it: more than one after --resume; empty where nothing was measured
    """

    name: str
    folder: Path
    facts: Facts
    finished: bool
    sessions: list[list[Event]] = field(default_factory=list)

    @cached_property
    def seconds(self) -> float | None:
        """From the beginning to the last event, of all sessions."""
        return sum(events[-1].at_s for events in self.sessions) if self.sessions else None

    @cached_property
    def peak_bytes(self) -> int | None:
        """The most resident memory of any session."""
        return max((event.peak_bytes for events in self.sessions for event in events), default=None)

    @cached_property
    def blocks(self) -> tuple[int, int] | None:
        """(finished, all), where it was measured."""
        if not self.sessions:
            return None
        begin, *events = self.sessions[-1]
        told = begin.run or {}
        before, total = told.get("done"), told.get("blocks")
        done = sum(event.finished and event.block is not None for event in events)
        if not (isinstance(before, int) and isinstance(total, int) and 0 <= before + done <= total):
            return None
        return before + done, total

    @cached_property
    def layer_seconds(self) -> dict[str, dict[str, float]]:
        """Tensor -> phase -> seconds, the last time that it was solved. What passed before a layer but for its own
        phases is its `calibrate`: reading, and running the text through the block; what passed between the last layer
        of a block and the block's end is that layer's `write`, and where the block was trained, `reconstruct` until
        then.
        """
        found: dict[str, dict[str, float]] = {}
        for events in self.sessions:
            last: dict[int | None, str] = {}  # by block: on a GPU one is finished when the next one is solved
            for before, event in pairwise(events):
                passed = max(0.0, event.at_s - before.at_s)
                if event.layer is not None:
                    last[event.block] = event.layer
                    found[event.layer] = {WAITED: max(0.0, passed - sum(event.seconds.values())), **event.seconds}
                elif event.trained and event.block in last:
                    found[last[event.block]][TRAINED] = passed
                elif event.finished and event.block is not None and event.block in last:
                    found[last.pop(event.block)][WROTE] = passed
        return found


def read_run(folder: Path) -> Run:
    """The run that wrote a folder, or that is writing it: OUT, OUT.partial, or OUT while there is only OUT.partial.

    Raises ConfigError if it is of no run, CheckpointError if its files are damaged. Changes nothing.
    """
    partial = folder.with_name(f"{folder.name}.partial") if folder.name else folder
    if (folder / FACTS).is_file():
        return Run(folder.resolve().name, folder, _validated(folder / FACTS), True, _sessions(folder / MEASURED))
    if not (folder / FILE).is_file() and (partial / FILE).is_file():
        folder = partial
    if not (folder / FILE).is_file():
        raise ConfigError(f"{folder}: holds no {FACTS}. Give the folder that fmcompress prune or quantize wrote.")
    return Run(folder.resolve().name, folder, _of_journal(folder / FILE), False, _sessions(folder / MEASURED))


def read_comparison(file: Path) -> Comparison:
    """What `fmcompress eval --compare --json` printed. Raises ConfigError if it is something else."""
    remedy = "Give what fmcompress eval --compare --json printed."
    try:
        told = json.loads(_text(file))
        for model in told["models"]:
            model.update({key: math.inf for key, value in model.items() if value is None})  # JSON has no infinity
        return TypeAdapter(Comparison).validate_python(told)
    except FmcompressError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ConfigError(f"{file}: holds no comparison. {remedy}") from None


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError as error:
        raise read_error(path, error) from None


def _validated(path: Path, told: Any = None) -> Facts:
    try:
        return Facts.model_validate(json.loads(_text(path)) if told is None else told)
    except (ValueError, RecursionError) as error:
        reason = in_one_line(error.errors()[0]["loc"]) if isinstance(error, ValidationError) else "no JSON"
        raise CheckpointError(f"{path}: is not as fmcompress writes it ({reason}). Fetch it again.") from None


def _of_journal(path: Path) -> Facts:
    """As many facts as the journal of a run holds that has not finished. Its last line may be half written."""
    lines = _objects(path)
    if not lines:
        raise ConfigError(f"{path}: the run has only begun. Try again in a moment.")
    begin, blocks = lines[0], lines[1:]
    layers = [layer for block in blocks for layer in block.get("layers", [])]
    config = {key.removeprefix("option "): value for key, value in begin.items() if key.startswith("option ")}
    facts = _validated(path, {**begin, "config": config, "layers": layers, "notes": []})
    facts.weights = sum(layer.rows * layer.cols for layer in facts.layers)
    facts.zeros = sum(layer.zeros for layer in facts.layers)
    facts.calibration_tokens = max((layer.tokens for layer in facts.layers), default=0)
    return facts


def _objects(path: Path) -> list[dict[str, Any]]:
    """The JSON objects of a file of lines; what a kill has cut short is none."""
    found = []
    for line in _text(path).splitlines():
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def _sessions(path: Path) -> list[list[Event]]:
    """The events of each start of a run; none where the file is missing, as in folders of earlier versions."""
    sessions: list[list[Event]] = []
    for value in _objects(path) if path.is_file() else []:
        try:
            event = Event.model_validate(value)
        except ValidationError as error:
            reason = in_one_line(error.errors()[0]["loc"])
            raise CheckpointError(f"{path}: is not as fmcompress writes it ({reason}). Remove it.") from None
        if event.run is not None:
            sessions.append([])
        if sessions:
            sessions[-1].append(event)
    return sessions
