"""Training of OmniVL, by AdamW: interrupted or not, it comes to the same numbers."""

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import CalibrationError, ConfigError
from ...models.omnivl.modelling import LIMITS
from ...training.optimizer import adamw, load_moments_, moments
from ...training.order import draw
from ...training.schedule import Schedule
from ...training.trainer import diverged
from .data import Dataset
from .objective import Objective
from .stages import Stage, Turn, require_items, turn

IMAGES, VIDEOS, CHANCE = range(3)  # what a seed is used for
EDGE = 1e-4  # within the temperature's limits: behind them it has no gradient and could not come back
Record = dict[str, Any]


class Trainer:
    """Trains a model in place, step by step.

    objective  with the model
    dataset    images and videos, and what is said of them
    stages     in their order

    step       the next one, from 0
    steps      of all stages

    What a step does depends on the seed, its number, the model, the optimizer's moments, the momentum model and the
    bank alone, so that a training that goes on from state() ends as one that was never interrupted, bit for bit, on the
    same machine with as many threads.

    Raises CalibrationError or ConfigError if a stage's images or videos are not there.
    """

    def __init__(
        self, objective: Objective, dataset: Dataset, stages: Sequence[Stage], schedule: Schedule | None = None
    ) -> None:
        require_items(stages, dataset.videos)
        self.objective, self.dataset, self.stages = objective, dataset, tuple(stages)
        self.schedule = schedule or Schedule()
        self.model = objective.model.train()
        self.step, self.steps = 0, sum(stage.steps for stage in stages)
        self._pools = (~dataset.videos).nonzero()[0], dataset.videos.nonzero()[0]
        self._named = dict(self.model.named_parameters())
        self.optimizer = adamw(self._named, self.schedule)

    def run(self, observer: Callable[[Record], None] | None = None, until: int | None = None) -> None:
        """Train up to the last step, or up to a step that is not done any more.

        observer  is told of each step: step (from 1), stage, videos, learning_rate, temperature, the losses by their
                  names and their sum as loss

        Raises CalibrationError if the loss is no finite number; the model is left as it was before that step.
        """
        for _ in range(self.step, self.steps if until is None else min(until, self.steps)):
            record = self.one()
            if observer:
                observer(record)

    def one(self) -> Record:
        """Do a step. Returns what run() tells its observer."""
        now = turn(self.stages, self.step)
        if now.stage.kind == "joint" and now.place == 0:
            self._begin_videos()
        rate = self.schedule.rate(now.place, now.stage.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        losses = self._losses(now)
        total = torch.stack(list(losses.values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        values = {name: float(value.detach()) for name, value in losses.items()}
        if not math.isfinite(sum(values.values())):
            raise diverged(self.step, self.steps, values, rate)
        total.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.schedule.clip)
        if not bool(norm.isfinite()):
            raise diverged(self.step, self.steps, {"gradient": float(norm)}, rate)
        self.optimizer.step()
        with torch.no_grad():
            low, high = (-math.log(limit) for limit in reversed(LIMITS))
            self.model.logit_scale.clamp_(low + EDGE, high - EDGE)
        self.step += 1
        if self.step == self.steps:
            self._begin_videos()  # after images alone a video is what they taught of its frames
        return {
            "step": self.step, "stage": now.stage.kind, "videos": now.video, "learning_rate": rate,
            "temperature": float(self.model.temperature.detach()), **values, "loss": sum(values.values()),
        }  # fmt: skip

    @torch.no_grad()
    def _begin_videos(self) -> None:
        """Let a video be what its frames are, where no video was learned from yet: our formulation, the paper does not
        say how weights over time begin."""
        followed = self.objective.momentum
        for model in [self.model, *([] if followed is None else [followed.model])]:
            encoder: Any = model.visual_encoder
            if not encoder.knows_videos:
                encoder.begin_videos_()

    def _losses(self, now: Turn) -> dict[str, Tensor]:
        seed, device = self.schedule.seed, self.model.device
        pool = self._pools[now.video]
        rows = draw(pool, self.schedule.batch_size, now.number, (seed, VIDEOS if now.video else IMAGES))
        batch = self.dataset.batch(rows).to(device)
        chance = int(np.random.SeedSequence([seed, CHANCE, self.step]).generate_state(1, np.uint64)[0] >> 1)
        autocast = torch.autocast(device.type, torch.bfloat16) if self.schedule.bfloat16 else nullcontext()
        with torch.random.fork_rng([device] if device.type == "cuda" else []), autocast:
            torch.manual_seed(chance)  # of dropout, where a config asks for it
            losses = self.objective.losses(batch, torch.Generator().manual_seed(chance))
        if not losses:
            raise CalibrationError("pairs: nothing can be learned from a batch of them.")
        return losses

    def state(self) -> dict[str, dict[str, Tensor]]:
        """Tensors from which load() goes on: of "model", "optimizer", "momentum" and "bank". Not copied."""
        objective = self.objective
        followed = {} if objective.momentum is None else dict(objective.momentum.model.named_parameters())
        return {
            "model": dict(self._named),
            "optimizer": moments(self.optimizer),
            "momentum": dict(followed),
            "bank": dict(objective.bank.state_dict()),
        }

    @torch.no_grad()
    def load(self, step: int, state: dict[str, dict[str, Tensor]]) -> None:
        """Go on before a step, with what state() gave then. Raises ConfigError if it is of another training."""
        own = self.state()
        for part in ("model", "momentum", "bank"):
            if {name: value.shape for name, value in own[part].items()} != {n: v.shape for n, v in state[part].items()}:
                raise ConfigError(f"{part}: expected the tensors of this training. Start anew with --force.")
            for name, value in state[part].items():
                own[part][name].copy_(value)
        load_moments_(self.optimizer, state["optimizer"])
        self.step = step
