"""The database of a search: one model pruned to several sparsities, and weights taken from one or another of them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..checkpoint import Checkpoint
from ..checkpoint.layout import FACTS
from ..errors import CheckpointError, ConfigError
from ..formats import open_checkpoint

SAME = 1e-6  # sparsities as people write them, with floating-point steps between


@dataclass(frozen=True)
class Level:
    """A checkpoint that was pruned to one sparsity everywhere.

    method  that pruned it
    layers  names of its pruned tensors
    """

    sparsity: float
    method: str
    checkpoint: Checkpoint
    layers: frozenset[str]


def level_sparsities(sparsity: float, step: float, reach: int) -> list[float]:
    """`sparsity` in the middle, and `reach` steps up and down, as far as both lie inside [0, 1].

    Raises ConfigError if not even one step fits.
    """
    fits = [k for k in range(reach + 1) if sparsity - k * step > -SAME and sparsity + k * step < 1 + SAME]
    if max(fits) == 0:
        raise ConfigError(f"step {step}: no step fits between 0, the sparsity {sparsity} and 1. Give a lower --step.")
    return [min(1.0, max(0.0, round(sparsity + k * step, 9))) for k in range(-max(fits), max(fits) + 1)]


def open_levels(folders: Sequence[Path], model: Checkpoint, sparsity: float) -> list[Level]:
    """Checkpoints that `fmcompress prune` wrote, by rising sparsity.

    Raises CheckpointError or ConfigError, naming the folder, if one was not pruned evenly from that model, or if their
    sparsities do not go up in equal steps through `sparsity`.
    """
    digest = model.digest()
    levels = sorted((_open(folder, digest) for folder in folders), key=lambda level: level.sparsity)
    found = [level.sparsity for level in levels]
    shown = ", ".join(f"{share:g}" for share in found)
    steps = [after - before for before, after in pairwise(found)]
    if not steps or min(steps) < SAME or max(steps) - min(steps) > SAME:
        raise ConfigError(f"levels: expected sparsities in equal steps such as 0.6, 0.7, 0.8, got {shown}.")
    if not any(abs(share - sparsity) < SAME for share in found[1:-1]):
        raise ConfigError(f"levels: expected {sparsity:g} between the lowest and the highest of them, got {shown}.")
    for level in levels:
        strange = sorted(level.layers ^ levels[0].layers)
        if strange:
            raise CheckpointError(
                f"{level.checkpoint.folder}: expected the pruned layers of {levels[0].checkpoint.folder}, but only one "
                f"of them holds {strange[0]}. Prune all levels with the same --include and --exclude."
            )
    return levels


def _open(folder: Path, digest: str) -> Level:
    checkpoint = open_checkpoint(folder)
    try:
        facts: Any = json.loads((folder / FACTS).read_text())
        config, made_from = facts["config"], facts["fingerprint"]["model"]
        sparsity, uneven, method = config["sparsity"], config["pattern"] or config["allocation"], str(config["method"])
        layers = frozenset(str(record["tensor"]) for record in facts["layers"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise CheckpointError(f"{folder}: expected a {FACTS} as fmcompress prune writes it. Prune it again.") from None
    if uneven or type(sparsity) not in (int, float) or not 0 <= sparsity <= 1:
        raise ConfigError(f"{folder}: expected one --sparsity for all layers, got another pattern. Prune it again.")
    if made_from != digest:
        raise CheckpointError(f"{folder}: was pruned from another model. Prune this one.")
    return Level(float(sparsity), method, checkpoint, layers)


class MixedReader:
    """Tensors of a model, each pruned layer from the checkpoint that was chosen for it.

    model   where all other tensors come from
    chosen  name of a layer, or of a slice NAME[INDEX] of a tensor -> checkpoint
    """

    def __init__(self, model: Checkpoint, chosen: Mapping[str, Checkpoint]) -> None:
        self.model, self.chosen = model, chosen
        self._sliced = {name.rpartition("[")[0] for name in chosen if name not in model.tensors}

    def read(self, name: str) -> Tensor:
        """One tensor, dense, on the CPU."""
        if name in self._sliced:
            slices = [f"{name}[{number}]" for number in range(self.model.tensors[name].shape[0])]
            return torch.stack([self.chosen.get(one, self.model).read(one) for one in slices])
        return self.chosen.get(name, self.model).read(name)
