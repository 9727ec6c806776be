"""AdamW over named parameters, and its moments as plain tensors."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from .schedule import Schedule


def adamw(named: Mapping[str, nn.Parameter], schedule: Schedule) -> torch.optim.AdamW:
    """AdamW that lets matrices decay, and not the rest: biases, norms, tokens and temperatures."""
    decaying = [one for one in named.values() if one.dim() >= 2 and 1 not in one.shape[:1]]
    others = [one for one in named.values() if not any(one is other for other in decaying)]
    groups = [
        {"params": decaying, "weight_decay": schedule.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, schedule.learning_rate, fused=True)


def moments(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What an optimizer knows of its parameters, by "NUMBER.KEY". Not copied."""
    state = optimizer.state_dict()["state"]
    return {f"{number}.{key}": value for number, known in state.items() for key, value in known.items()}


def load_moments_(optimizer: torch.optim.Optimizer, state: Mapping[str, Tensor]) -> None:
    """Let an optimizer of the same parameters know what moments() gave."""
    known: dict[int, dict[str, Tensor]] = {}
    for name, value in state.items():
        number, key = name.split(".")
        known.setdefault(int(number), {})[key] = value.clone()
    optimizer.load_state_dict({"state": known, "param_groups": optimizer.state_dict()["param_groups"]})
