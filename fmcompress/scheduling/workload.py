"""What a step of pipelined, data-parallel training asks of its devices and links."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError

PerStage = float | Sequence[float]  # one number for all stages, or one for each


@dataclass(frozen=True)
class Workload:
    """The tasklets of a step and their bytes, operations and memory.

    stages                  of the pipeline; each is held by `replicas` devices, the paper's D_PP
    replicas                pipelines that train side by side, the paper's D_DP
    activation_bytes        that one replica hands from a stage to the next in a step, all micro-batches together; as
                            many gradients of them come back
    gradient_bytes          of a stage's weights, which its replicas average in each step; one number, or one a stage
    micro_batches           into which a replica's batch is cut
    activation_compression  how many times fewer activation bytes are sent
    gradient_compression    how many times fewer gradient bytes are sent, such as 88 with CocktailSGD
    flops                   operations of a stage in a step of one replica, forward and backward; one number, or one a
                            stage
    state_bytes             of a stage's weights, gradients and optimizer state on each of its devices
    stored_bytes            of activations that a stage keeps for one micro-batch until its backward
    layers                  of the model, which `Plan.split` deals out to the stages; 0: not known

    Raises ConfigError for counts below 1, negative or missing numbers.
    """

    stages: int
    replicas: int
    activation_bytes: float
    gradient_bytes: PerStage
    micro_batches: int = 1
    activation_compression: float = 1.0
    gradient_compression: float = 1.0
    flops: PerStage = 0.0
    state_bytes: PerStage = 0.0
    stored_bytes: PerStage = 0.0
    layers: int = 0

    def __post_init__(self) -> None:
        for name in self.fields():
            if isinstance(getattr(self, name), np.generic):  # NumPy's numbers are numbers
                object.__setattr__(self, name, getattr(self, name).item())
        for name, least in (("stages", 1), ("replicas", 1), ("micro_batches", 1), ("layers", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ConfigError(f"{name}: expected a whole number of at least {least}, got {value!r}.")
        for name in ("activation_bytes", "activation_compression", "gradient_compression"):
            value, least = getattr(self, name), 0 if name == "activation_bytes" else 1
            if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value < np.inf:
                raise ConfigError(f"{name}: expected a number of at least {least}, got {value!r}.")
        for name in ("gradient_bytes", "flops", "state_bytes", "stored_bytes"):
            value = getattr(self, name)
            if not isinstance(value, int | float | str):
                object.__setattr__(self, name, tuple(value))
            self.per_stage(name)
        if 0 < self.layers < self.stages:
            raise ConfigError(f"layers: {self.layers} of them cannot be dealt out to {self.stages} stages.")

    @property
    def tasklets(self) -> int:
        """Devices that are needed: one for each stage of each replica."""
        return self.stages * self.replicas

    def per_stage(self, name: str) -> NDArray[np.float64]:
        """[stages] of gradient_bytes, flops, state_bytes or stored_bytes."""
        value = getattr(self, name)
        try:
            numbers = np.broadcast_to(np.asarray(value, dtype=np.float64), (self.stages,))
        except (TypeError, ValueError):
            raise ConfigError(
                f"{name}: expected a number, or one for each of {self.stages} stages, got {value!r}."
            ) from None
        if not (np.isfinite(numbers) & (numbers >= 0)).all():
            raise ConfigError(f"{name}: expected numbers of at least 0, got {value!r}.")
        return numbers

    def memory_bytes(self) -> NDArray[np.float64]:
        """[stages] that a device of a stage needs: its state, and what 1F1B keeps of the micro-batches in flight.

        Stage s has at most stages - s of them in flight (Narayanan et al. 2021, section 2.2.1).
        """
        in_flight = np.minimum(self.stages - np.arange(self.stages), self.micro_batches)
        return self.per_stage("state_bytes") + in_flight * self.per_stage("stored_bytes")

    def as_dict(self) -> dict[str, Any]:
        """What read_workload reads back."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def fields(cls) -> list[str]:
        """The names of what a workload is made of."""
        return [field.name for field in fields(cls)]
