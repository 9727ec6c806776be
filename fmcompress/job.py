"""A run that is ready to start, and who watches it."""

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from .calibration import Pairs, StreamedModel
from .checkpoint import Checkpoint
from .config import RunConfig
from .layers import Chosen
from .phases import Phases
from .plan import Plan
from .ranks import Ranks


class Observer(Protocol):
    """Who watches a run."""

    def start(self, blocks: int, done: int) -> None:
        """The pass begins; `done` blocks are finished already."""

    def layer(self, block: int, record: dict[str, Any]) -> None:
        """A layer of a block was solved."""

    def training(self, block: int, done: int, steps: int) -> None:
        """So many of the steps that reconstruct a block are done."""

    def block(self, block: int) -> None:
        """A block is finished and on disk."""

    def note(self, text: str) -> None:
        """Something that a person should see."""


@dataclass
class Job:
    """A run that is ready to start: inputs read and checked, nothing written."""

    source: Checkpoint
    config: RunConfig
    layers: Chosen
    device: torch.device
    plan: Plan
    streamed: StreamedModel | None = None  # None for a method that does not run the model
    windows: Tensor | None = None  # [sequences, length] int64 calibration tokens; None where no layer looks at text
    notes: list[str] = field(default_factory=list)  # what a person should know before the run
    ranks: Ranks = field(default_factory=Ranks)  # the processes that share the work
    images: Tensor | None = None  # [count, channels, height, width] pixels; None where no layer looks at images
    pairs: Pairs | None = None  # images or videos with a text each; None where text and images are looked at apart
    masks: Checkpoint | None = None  # whose zeros are taken over; None to look for them
    phases: Phases = field(default_factory=Phases)  # where the seconds of the run go
