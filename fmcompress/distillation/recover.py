"""Which weights of a pruned model learn, and what is measured of it."""

import math
import re
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ..errors import ConfigError
from .logit_objective import LOGIT_BYTES


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
