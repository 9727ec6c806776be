"""Steps one after another into a folder, watched, stopped between two of them, and gone on with."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from ..errors import Interrupted
from .folder import TrainingFolder, read_log

Record = dict[str, Any]


class Observer(Protocol):
    """Watches a training."""

    def note(self, text: str) -> None:
        """Something that a user should know."""
        ...

    def step(self, record: Record, steps: int) -> None:
        """A step is done, of so many."""
        ...

    def saved(self, record: Record, steps: int) -> None:
        """A checkpoint is on disk."""
        ...

    def stop(self) -> bool:
        """Whether to stop now, between two steps."""
        ...


class Unwatched:
    """An observer whom nobody asked for."""

    def note(self, text: str) -> None:
        """See Observer."""

    def step(self, record: Record, steps: int) -> None:
        """See Observer."""

    def saved(self, record: Record, steps: int) -> None:
        """See Observer."""

    def stop(self) -> bool:
        """See Observer."""
        return False


class Trainable(Protocol):
    """What is trained: `step` of `steps` are done, one() does the next, state() is all that goes on from here."""

    @property
    def step(self) -> int:
        """Steps that are done."""
        ...

    @property
    def steps(self) -> int:
        """All of them."""
        ...

    def one(self) -> Record:
        """Do a step, and tell of it: "step" from 1, and numbers by their names."""
        ...

    def state(self) -> dict[str, dict[str, Tensor]]:
        """Tensors from which load() goes on, by part and name."""
        ...

    def load(self, step: int, state: dict[str, dict[str, Tensor]]) -> None:
        """Go on before a step, with what state() gave then."""
        ...


def train(
    trainer: Trainable,
    folder: TrainingFolder,
    observer: Observer,
    save_every: int,
    *,
    plot: Path | None = None,
    draw: Callable[[list[Record], Path], None] | None = None,
) -> None:
    """Do the steps that are left, with a line of log each and a checkpoint every so many.

    draw  draws a log into the picture `plot`, anew at each checkpoint

    Raises Interrupted when the observer stops it, with what was done kept.
    """
    with folder.log.open("a") as log:
        while trainer.step < trainer.steps:
            record = trainer.one()
            log.write(json.dumps(record) + "\n")
            observer.step(record, trainer.steps)
            stopped = observer.stop()
            if trainer.step % save_every == 0 or stopped or trainer.step == trainer.steps:
                log.flush()
                os.fsync(log.fileno())  # before the checkpoint, so that no line of it is missing
                folder.save(trainer.step, trainer.state())
                observer.saved(record, trainer.steps)
                if plot and draw and trainer.step < trainer.steps:
                    draw(read_log(folder.log), plot)
            if stopped and trainer.step < trainer.steps:
                instead = " in the place of --force" if folder.force else ""
                raise Interrupted(
                    f"interrupted: step {trainer.step} of {trainer.steps} is kept. The same command with --resume"
                    f"{instead} goes on."
                )
