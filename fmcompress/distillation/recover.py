"""What a recovery trains, what it measures, and which step it keeps."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ..errors import ConfigError
from ..training.schedule import Schedule
from ..training.trainer import Objective, Record, Trainer
from .logit_objective import LOGIT_BYTES

State = dict[str, dict[str, Tensor]]


def choose_learning(model: nn.Module, include: str | None, exclude: str | None) -> int:
    """Freeze parameters whose name does not match `include` or matches `exclude`; returns how many numbers learn.

    Raises ConfigError if none does, or for a regular expression that is none.
    """
    for name, one in model.named_parameters():
        try:
            wanted = include is None or re.search(include, name) is not None
            one.requires_grad_(wanted and (exclude is None or re.search(exclude, name) is None))
        except re.error as error:
            raise ConfigError(f"include, exclude: no regular expression ({error}).") from None
    learning = sum(one.numel() for one in model.parameters() if one.requires_grad)
    if not learning:
        raise ConfigError("include, exclude: leave no parameter to learn. Look at the names with fmcompress inspect.")
    return learning


@torch.no_grad()
def perplexity_on(model: Any, windows: Tensor) -> float:
    """exp of the mean nats over all tokens of windows [count, length] but the first of each. Ends in train mode."""
    vocabulary = model.config.get_text_config().vocab_size
    model.eval()
    nats = 0.0
    for part in windows.split(max(1, min(16, LOGIT_BYTES // (4 * vocabulary * windows.shape[1])))):
        tokens = part.to(model.device)
        logits = model(input_ids=tokens).logits[:, :-1].flatten(0, 1).float()
        nats += float(cross_entropy(logits, tokens[:, 1:].flatten(), reduction="sum"))
    model.train()
    mean = nats / (windows.shape[0] * (windows.shape[1] - 1))
    return math.exp(mean) if mean < 700 else math.inf


class Recovery(Trainer):
    """A training that keeps its best step by the perplexity on held-out text.

    measure     perplexity of the model as it is
    every       steps between two looks; the last step is always looked at
    start       perplexity before the first step

    best_step   0 where no step was better than the start
    perplexity  of it
    """

    def __init__(
        self,
        objective: Objective,
        steps: int,
        schedule: Schedule,
        zeros: Mapping[str, Tensor],
        *,
        measure: Callable[[], float],
        every: int,
        start: float,
    ) -> None:
        super().__init__(objective, steps, schedule, zeros)
        self.measure, self.every = measure, every
        self.best_step, self.perplexity = 0, start
        self.best: dict[str, Tensor] = {}

    def one(self) -> Record:
        """See Trainer: "perplexity" is told where it was looked at."""
        record = super().one()
        if self.step % self.every == 0 or self.step == self.steps:
            record["perplexity"] = found = self.measure()
            if found < self.perplexity:
                self.best_step, self.perplexity = self.step, found
                self.best = {name: one.clone() for name, one in super().state()["model"].items()}
        return record

    def state(self) -> State:
        """See Trainer."""
        chosen = {"step": torch.tensor(self.best_step), "perplexity": torch.tensor(self.perplexity).double()}
        return {**super().state(), "best": self.best, "chosen": chosen}

    def load(self, step: int, state: State) -> None:
        """See Trainer."""
        super().load(step, state)
        self.best = state["best"]
        self.best_step, self.perplexity = int(state["chosen"]["step"]), float(state["chosen"]["perplexity"])

    @torch.no_grad()
    def take_best(self) -> None:
        """Give the model the weights of its best step; not those of the start, which are on disk."""
        named = dict(self.model.named_parameters())
        for name, value in self.best.items():
            named[name].copy_(value)
