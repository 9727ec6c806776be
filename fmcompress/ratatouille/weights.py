"""Weights in memory, tensors by name: copied, told apart into featuriser and head, checked."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ..checkpoint.layout import DTYPE_NAMES
from ..errors import ConfigError
from ..merging.weights import Weights


def is_head(name: str, head: str) -> bool:
    """Whether a tensor belongs to the head, a module such as "classifier" or "model.head"."""
    return name.startswith(f"{head}.")


def featuriser(weights: Weights, head: str) -> dict[str, Tensor]:
    """All tensors but the head's."""
    return {name: tensor for name, tensor in weights.items() if not is_head(name, head)}


def grafted(body: Weights, top: Weights, head: str) -> dict[str, Tensor]:
    """The featuriser of `body` below the head of `top`."""
    return featuriser(body, head) | {name: tensor for name, tensor in top.items() if is_head(name, head)}


def copied(weights: Weights, what: str, device: torch.device | None = None) -> dict[str, Tensor]:
    """The same numbers on one device, that of the first if none is named, in memory of their own and without a graph.

    Raises ConfigError, about `what`, for anything but tensors by name of dtypes that can be kept and averaged.
    """
    if not isinstance(weights, Mapping):
        raise ConfigError(f"{what}: expected weights by name, such as a state dict, got {type(weights).__name__}.")
    for name, one in weights.items():
        if not isinstance(one, Tensor):
            raise ConfigError(f"{what}: {name}: expected a tensor, got {type(one).__name__}. Leave it out.")
        if one.dtype not in DTYPE_NAMES or (one.is_floating_point() and one.itemsize == 1):
            raise ConfigError(f"{what}: {name}: {one.dtype} can be neither kept nor averaged. Convert it.")
        device = device or one.device
    return {name: one.detach().to(device, copy=True) for name, one in weights.items()}


def check_untied(weights: Weights, head: str, what: str) -> None:
    """Raise ConfigError where a tensor of the head is one of the featuriser's, too: it could not be exchanged."""
    owners = {(one.device, one.data_ptr()): name for name, one in featuriser(weights, head).items() if one.numel()}
    for name, one in weights.items():
        owner = owners.get((one.device, one.data_ptr()))
        if is_head(name, head) and owner and one.numel():
            raise ConfigError(f"{what}: {name} is tied to {owner}, so that it is no head of its own. Untie them.")


def check_finite(weights: Weights, what: str) -> None:
    """Raise ConfigError for an infinity or NaN, which would spoil every average."""
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ConfigError(f"{what}: {name}: expected finite numbers, got inf or NaN. Lower its learning rate.")
