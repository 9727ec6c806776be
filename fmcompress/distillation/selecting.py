"""Which checkpoint of a training is kept: the one that answers most of the validation split."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..training.trainer import Trainer

Record = dict[str, Any]


class Selecting:
    """A trainer that measures its model at every checkpoint and remembers the best; of equals the later one.

    measure  share of right answers of the model as it is; must change nothing
    every    steps between two measurements; the last step is measured, too

    chosen   the step of the best, from 1; 0 before any was measured
    """

    def __init__(self, trainer: Trainer, measure: Callable[[], float], every: int) -> None:
        self.trainer, self.measure, self.every = trainer, measure, every
        self.chosen, self.accuracy = 0, -1.0
        self._best: dict[str, Tensor] = {}

    @property
    def step(self) -> int:
        """See Trainable."""
        return self.trainer.step

    @property
    def steps(self) -> int:
        """See Trainable."""
        return self.trainer.steps

    def one(self) -> Record:
        """See Trainable; "valid" is what was measured after the step."""
        record = self.trainer.one()
        if self.step % self.every and self.step < self.steps:
            return record
        accuracy = self.measure()
        if accuracy >= self.accuracy:
            self.chosen, self.accuracy = self.step, accuracy
            self._best = {name: value.clone() for name, value in self.trainer.state()["model"].items()}
        return {**record, "valid": accuracy}

    def state(self) -> dict[str, dict[str, Tensor]]:
        """See Trainable."""
        state = self.trainer.state()
        if self._best:
            known = torch.tensor([self.chosen, self.accuracy], dtype=torch.float64)
            state = {**state, "best": self._best, "chosen": {"step_accuracy": known}}
        return state

    def load(self, step: int, state: dict[str, dict[str, Tensor]]) -> None:
        """See Trainable."""
        self.trainer.load(step, state)
        if "best" in state:
            chosen, self.accuracy = state["chosen"]["step_accuracy"].tolist()
            self.chosen, self._best = int(chosen), state["best"]

    @torch.no_grad()
    def choose_(self) -> None:
        """Give the model the weights of the best checkpoint, in place."""
        own = self.trainer.state()["model"]
        for name, value in self._best.items():
            own[name].copy_(value)
