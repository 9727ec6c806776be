"""How fast a model learns: a rate that rises, then falls as a cosine."""

import math
from dataclasses import dataclass

from ..errors import ConfigError


@dataclass(frozen=True)
class Schedule:
    """How a model is trained.

    batch_size     items of a step
    learning_rate  of AdamW at its highest in each stage
    weight_decay   of matrices alone; 0.02 as ALBEF has it
    warmup         share of each stage's steps over which the rate rises linearly, before it falls as a cosine to 1 %
    clip           longest gradient
    seed           of the order of items, of hard negatives and of dropout
    bfloat16       computes in it where torch's autocast does, on a GPU
    """

    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    warmup: float = 0.1
    clip: float = 1.0
    seed: int = 0
    bfloat16: bool = False

    def __post_init__(self) -> None:
        if self.batch_size < 1 or not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise ConfigError(
                "batch size, learning rate: expected 1 at least and a finite number above 0, got "
                f"{self.batch_size} and {self.learning_rate}."
            )

    def rate(self, place: int, steps: int) -> float:
        """The learning rate of a stage's step from 0."""
        rising = max(1, round(self.warmup * steps))
        if place < rising:
            return self.learning_rate * (place + 1) / rising
        done = (place - rising) / max(1, steps - rising)
        return self.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))
