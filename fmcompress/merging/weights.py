"""The average of weights in memory, tensors by name, and whether they can be averaged at all."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .. import ops
from ..errors import ConfigError

Weights = Mapping[str, Tensor]
# the last parts of names under which torch's BatchNorm keeps what it has seen
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def check_alike(found: Weights, wanted: Weights, what: str) -> None:
    """Raise ConfigError unless both have the same names, each with the same shape and dtype."""
    if odd := sorted(found.keys() ^ wanted.keys()):
        state = "lacks" if odd[0] in wanted else "has a strange"
        raise ConfigError(f"{what}: {state} tensor {odd[0]!r} ({len(odd)} differ). Train the same architecture.")
    for name, tensor in wanted.items():
        one = found[name]
        if one.shape != tensor.shape or one.dtype != tensor.dtype:
            raise ConfigError(
                f"{what}: {name}: expected {tensor.dtype} {list(tensor.shape)}, got {one.dtype} {list(one.shape)}."
            )


def average(models: Sequence[Weights], shares: Sequence[float] | None = None, *, statistics: bool = False) -> Weights:
    """The weighted average of models, tensor by tensor of one name; order means nothing.

    models      with the same names, shapes and dtypes
    shares      one a model, summing to 1; equal ones if None
    statistics  what to do with BatchNorm's: refuse them where they differ (False), since averaged statistics are not
                those of averaged weights, or average them for the caller to recompute (True)

    Sums are in float64, rounded once to each tensor's dtype, on the device of the first model's tensor. Integers and
    booleans must be equal in all models. Raises ConfigError for models that differ or numbers that are not finite.
    """
    if not models:
        raise ConfigError("models: expected at least one, got none.")
    parts = [1 / len(models)] * len(models) if shares is None else list(shares)
    if len(parts) != len(models) or not abs(sum(parts) - 1) < 1e-9:
        raise ConfigError(f"shares: expected {len(models)} that sum to 1, got {parts}.")
    for number, model in enumerate(models[1:], 1):
        check_alike(model, models[0], f"model {number}")
    weights = torch.tensor(parts, dtype=torch.float64)
    return {name: _averaged(name, [model[name] for model in models], weights, statistics) for name in models[0]}


def _averaged(name: str, tensors: list[Tensor], weights: Tensor, statistics: bool) -> Tensor:
    first, counted = tensors[0].detach(), name.rsplit(".", 1)[-1] in STATISTICS
    tensors = [one.detach().to(first.device) for one in tensors]
    if counted and not statistics and not _equal(tensors):
        raise ConfigError(
            f"{name}: BatchNorm's statistics differ between models. Freeze them in training, or give `recompute`."
        )
    if not first.is_floating_point():
        if not counted and not _equal(tensors):
            raise ConfigError(f"{name}: expected equal {first.dtype} in all models. Only floating point is averaged.")
        return first.clone()
    out = torch.empty(first.numel(), dtype=first.dtype, device=first.device)
    try:
        bad = ops.weighted_sum_(out, torch.stack([one.reshape(-1) for one in tensors]), weights.to(out.device))
    except ValueError as error:
        raise ConfigError(f"{name}: cannot be averaged: {error}") from None
    if bad:
        raise ConfigError(f"{name}: {int(bad)} entries of the average are inf or NaN. Leave the broken model out.")
    return out.view(first.shape)


def _equal(tensors: list[Tensor]) -> bool:
    return all(torch.equal(one, tensors[0]) for one in tensors[1:])
