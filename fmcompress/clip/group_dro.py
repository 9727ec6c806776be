"""GroupDRO: the groups of the highest losses weigh most (Sagawa et al. 2020)."""

import numpy as np
import torch
from torch import Tensor

from ..errors import ConfigError
from .vectors import Labels


class GroupDro:
    """The loss of a batch, which shifts weight to groups that lose: q_g *= exp(step_size loss_g), normalised.

    groups      [rows] of all training rows
    step_size   eta of the paper
    adjustment  C of the paper: C / sqrt(rows of the group) is added to its loss before it is weighed
    normalized  weigh by losses divided by their sum
    weights     [groups] q as it is now
    """

    def __init__(
        self, groups: Labels, *, step_size: float = 0.01, adjustment: float = 0.0, normalized: bool = False
    ) -> None:
        if not (step_size >= 0 and adjustment >= 0):
            raise ConfigError(f"GroupDRO: expected numbers of at least 0, got {step_size} and {adjustment}.")
        self.groups = torch.from_numpy(np.ascontiguousarray(groups))
        counts = torch.bincount(self.groups)
        self.extra = torch.where(counts > 0, adjustment / counts.clamp(min=1).sqrt(), 0.0)
        self.present = counts > 0
        self.step_size, self.normalized = step_size, normalized
        self.weights = self.present / self.present.sum()

    def __call__(self, logits: Tensor, targets: Tensor, rows: Labels) -> Tensor:
        """logits [batch, classes], targets [batch], numbers of the rows [batch] -> the weighted loss."""
        losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
        groups = self.groups[rows]
        counts = torch.bincount(groups, minlength=len(self.weights))
        means = torch.zeros(len(self.weights)).index_add(0, groups, losses) / counts.clamp(min=1)
        weighed = (means.detach() + self.extra) * (counts > 0)
        if self.normalized:
            weighed = weighed / weighed.sum().clamp(min=1e-12)
        grown = self.weights * torch.exp(self.step_size * weighed)
        self.weights = grown / grown.sum()
        return means @ self.weights
