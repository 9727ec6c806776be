"""How a model is set, so that its blocks can be run one by one, and what a decoder is told beside an encoder."""

from typing import Any

import torch
from torch import Tensor, nn

from .places import transposed_experts


def shifted(ids: Tensor, runner: Any) -> Tensor:
    """What a decoder is given that says what its encoder was told: the start token, then all tokens but the last."""
    named = (getattr(runner, "decoder_start_token_id", None),)  # of BLIP the model knows it, not its config
    starts = named + tuple(
        getattr(runner.config, name, None) for name in ("decoder_start_token_id", "pad_token_id", "bos_token_id")
    )
    start = next((token for token in starts if token is not None), 0)
    return torch.cat([torch.full_like(ids[:, :1], start), ids[:, :-1]], dim=1)


def run_experts_one_by_one(model: nn.Module) -> None:
    """So that each expert's own tokens can be seen; transformers otherwise multiplies all experts in one kernel."""
    for module in model.modules():
        if transposed_experts(module) is not None and hasattr(module, "config"):
            module.config._experts_implementation = "eager"  # type: ignore[union-attr]


def keep_no_past(model: nn.Module) -> None:
    """A block runs several times with the arguments that were recorded: what it remembers in one would add up."""
    for module in model.modules():
        if getattr(getattr(module, "config", None), "use_cache", False):
            module.config.use_cache = False  # type: ignore[union-attr]
