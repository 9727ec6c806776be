"""A model that follows another one slowly, whose embeddings are steady enough to be kept (He et al. 2020, MoCo)."""

import copy
from typing import Any

import torch
from torch import Tensor, nn


class MomentumModel:
    """A copy of a model whose parameters are an exponential moving average of the model's.

    model     what is followed
    momentum  m in [0, 1]: own <- m own + (1 - m) model's; 1 never moves, 0 is a copy
    without   names of parts that are not copied, for what they cost: None in the copy

    The copy is in eval(), without gradients; buffers are the model's.
    """

    def __init__(self, model: nn.Module, momentum: float = 0.995, *, without: tuple[str, ...] = ()) -> None:
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum: expected a number in [0, 1], got {momentum}.")
        self.momentum = momentum
        memo: dict[int, Any] = {id(getattr(model, name)): None for name in without}
        self.model: Any = copy.deepcopy(model, memo).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Follow the model by one step. Nothing of it is changed."""
        own, theirs = dict(self.model.named_parameters()), dict(model.named_parameters())
        mine: list[Tensor] = list(own.values())
        others: list[Tensor] = [theirs[name] for name in own]
        torch._foreach_mul_(mine, self.momentum)
        torch._foreach_add_(mine, others, alpha=1 - self.momentum)
        buffers = dict(model.named_buffers())
        for name, buffer in self.model.named_buffers():
            buffer.copy_(buffers[name])
