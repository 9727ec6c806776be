"""What a training function is asked for in a recipe, and what comes of it."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ..merging.weights import Weights

PRETRAINED, FUSED, TARGET = "pretrained", "fused", "target"


@dataclass(frozen=True)
class Job:
    """One training.

    kind    "auxiliary": the weights are the pretrained featuriser alone; fine-tune them, and a new head, on the
            auxiliary task
            "probe": the same weights; train a new head on the target, and leave them as they are
            "target": the weights are a featuriser and the probed head; fine-tune all of them on the target
    task    the auxiliary task's name, or "target"
    start   the featuriser that the weights have: "pretrained", "fused", or an auxiliary task's name
    number  of the target run, from 0: hyperparameters may depend on it. 0 for the other kinds
    seed    of everything random; equal for runs of one number, wherever they start
    """

    kind: Literal["auxiliary", "probe", "target"]
    task: str
    start: str
    number: int
    seed: int

    @property
    def name(self) -> str:
        """What the job is called in messages and files."""
        if self.kind == "target":
            return f"{TARGET}-{self.number:03}-from-{self.start}"
        return self.kind if self.kind == "probe" else f"{self.kind}-{self.task}"


# weights, which are the function's own to change, and what to do -> the trained weights, head included
Train = Callable[[Weights, Job], Weights]
# of the target's training domains, higher is better; test data are nobody's here
Validate = Callable[[Weights], float]
# so many trainings of so many are there, the last of them by name
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Run:
    """A finished training: `validation` is None but for fine-tunings on the target."""

    job: Job
    weights: Weights
    validation: float | None


def seed_of(seed: int, what: str, number: int = 0) -> int:
    """A seed below 2^31 for a part of a recipe, the same in every process."""
    return int.from_bytes(hashlib.sha256(f"{seed} {what} {number}".encode()).digest()[:4], "little") >> 1
