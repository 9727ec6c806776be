"""Training of any model by AdamW: interrupted or not, it comes to the same numbers."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import CalibrationError, ConfigError
from .optimizer import adamw, load_moments_, moments
from .schedule import Schedule

Record = dict[str, Any]


class Objective(Protocol):
    """What a model is trained for."""

    model: nn.Module

    def losses(self, step: int) -> Iterator[Mapping[str, Tensor]]:
        """The losses of a step from 0, a micro-batch after another: the step's is the sum of all of them.

        What is drawn must depend on the step alone; torch's global generator is seeded for it already.
        """
        ...


class Trainer:
    """Trains a model in place, step by step.

    objective  with the model
    steps      all of them
    zeros      by the name of a parameter: bool of its shape, True where it stays 0, as a pruned model's do

    step       the next one, from 0

    What a step does depends on the seed, its number, the model and the optimizer's moments alone, so that a training
    that goes on from state() ends as one that was never interrupted, bit for bit, on the same machine with as many
    threads.

    Raises ConfigError for zeros of a parameter that is not there or is not 0 at them.
    """

    def __init__(
        self,
        objective: Objective,
        steps: int,
        schedule: Schedule | None = None,
        zeros: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.objective, self.steps, self.step = objective, steps, 0
        self.schedule = schedule or Schedule()
        self.model: nn.Module = objective.model.train()
        self._named = {name: one for name, one in self.model.named_parameters() if one.requires_grad}
        self.optimizer = adamw(self._named, self.schedule)
        self.zeros = dict(zeros or {})
        for name, zero in self.zeros.items():
            weight = self._named.get(name)
            if weight is None or weight.shape != zero.shape or bool(weight.detach()[zero].any()):
                raise ConfigError(f"{name}: expected a parameter that is 0 wherever its zeros are to be kept.")

    def run(self, observer: Callable[[Record], None] | None = None, until: int | None = None) -> None:
        """Train up to the last step, or up to a step that is not done any more.

        observer  is told of each step: step (from 1), learning_rate, the losses by their names and their sum as loss

        Raises CalibrationError if the loss is no finite number; the model is left as it was before that step.
        """
        for _ in range(self.step, self.steps if until is None else min(until, self.steps)):
            record = self.one()
            if observer:
                observer(record)

    def one(self) -> Record:
        """Do a step. Returns what run() tells its observer."""
        rate = self.schedule.rate(self.step, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        values = self._gradients()
        if not math.isfinite(sum(values.values())):
            raise diverged(self.step, self.steps, values, rate)
        for name, zero in self.zeros.items():
            gradient = self._named[name].grad
            if gradient is not None:
                gradient.masked_fill_(zero, 0.0)
        norm = torch.nn.utils.clip_grad_norm_(self._named.values(), self.schedule.clip)
        if not bool(norm.isfinite()):
            raise diverged(self.step, self.steps, {"gradient": float(norm)}, rate)
        self.optimizer.step()  # without gradient and moments AdamW leaves a 0 as it is
        self.step += 1
        return {"step": self.step, "learning_rate": rate, **values, "loss": sum(values.values())}

    def _gradients(self) -> dict[str, float]:
        """Add up the gradients of all micro-batches; returns the step's losses."""
        device = next(iter(self._named.values())).device
        chance = int(np.random.SeedSequence([self.schedule.seed, self.step]).generate_state(1, np.uint64)[0] >> 1)
        autocast = torch.autocast(device.type, torch.bfloat16) if self.schedule.bfloat16 else nullcontext()
        values: dict[str, float] = {}
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(chance)  # of dropout, where a config asks for it
            micro_batches = self.objective.losses(self.step)
            while True:
                with autocast:  # not around backward
                    losses = next(micro_batches, None)
                if losses is None:
                    break
                torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
                for name, loss in losses.items():
                    values[name] = values.get(name, 0.0) + float(loss.detach())
        if not values:
            raise CalibrationError(f"step {self.step + 1}: nothing can be learned from what was drawn.")
        return values

    def state(self) -> dict[str, dict[str, Tensor]]:
        """Tensors from which load() goes on: of "model" and "optimizer". Not copied."""
        return {
            "model": {name: one.detach() for name, one in self._named.items()},
            "optimizer": moments(self.optimizer),
        }

    @torch.no_grad()
    def load(self, step: int, state: dict[str, dict[str, Tensor]]) -> None:
        """Go on before a step, with what state() gave then. Raises ConfigError if it is of another training."""
        own = {name: one.shape for name, one in self._named.items()}
        if own != {name: one.shape for name, one in state["model"].items()}:
            raise ConfigError("model: expected the tensors of this training. Start anew with --force.")
        for name, value in state["model"].items():
            self._named[name].copy_(value)
        load_moments_(self.optimizer, state["optimizer"])
        self.step = step


def diverged(step: int, steps: int, values: Mapping[str, float], rate: float) -> CalibrationError:
    """The error to raise where a step from 0 gives no finite numbers."""
    told = ", ".join(f"{name} {value:g}" for name, value in values.items())
    return CalibrationError(
        f"step {step + 1} of {steps}: no finite number any more ({told}) at a learning rate of {rate:.2g}. "
        "Start anew with a lower --learning-rate."
    )
