"""Which checkpoint of a training is kept: the one that does best on what it does not learn."""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .trainer import Trainer

Record = dict[str, Any]


class Selecting:
    """A trainer that measures its model every so many steps and remembers the best.

    measure  a number of the model as it is; must change nothing
    every    steps between two measurements; the last step is measured, too
    name     of that number in what is told of a step
    better   better(found, before): whether a step is kept instead of the one before. By default the higher number is,
             and of equals the later one
    start    what the first is compared to

    chosen   the step of the best, from 1; 0 where none was better than the start
    value    what was measured then
    """

    def __init__(
        self,
        trainer: Trainer,
        measure: Callable[[], float],
        every: int,
        *,
        name: str = "valid",
        better: Callable[[float, float], bool] = operator.ge,
        start: float = -1.0,
    ) -> None:
        self.trainer, self.measure, self.every, self.name, self.better = trainer, measure, every, name, better
        self.chosen, self.value = 0, start
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
        """See Trainable; what was measured after the step stands under its name."""
        record = self.trainer.one()
        if self.step % self.every and self.step < self.steps:
            return record
        found = self.measure()
        if self.better(found, self.value):
            self.chosen, self.value = self.step, found
            self._best = {name: value.clone() for name, value in self.trainer.state()["model"].items()}
        return {**record, self.name: found}

    def state(self) -> dict[str, dict[str, Tensor]]:
        """See Trainable."""
        state = self.trainer.state()
        if self._best:
            known = torch.tensor([self.chosen, self.value], dtype=torch.float64)
            state = {**state, "best": self._best, "chosen": {"step_value": known}}
        return state

    def load(self, step: int, state: dict[str, dict[str, Tensor]]) -> None:
        """See Trainable."""
        self.trainer.load(step, state)
        if "best" in state:
            chosen, self.value = state["chosen"]["step_value"].tolist()
            self.chosen, self._best = int(chosen), state["best"]

    @torch.no_grad()
    def choose_(self) -> None:
        """Give the model the weights of the best checkpoint, in place; those that it has where none was better."""
        own = self.trainer.state()["model"]
        for name, value in self._best.items():
            own[name].copy_(value)
