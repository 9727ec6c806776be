"""From the options of a run to the method that solves one layer, and what follows it: refit, rounding."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .config import PruneConfig, QuantizeConfig, RunConfig
from .layerwise import Grid, LayerResult, Pattern, Unstructured, captured_solves, round_kept, solve, solve_batch
from .pruning import admm, magnitude, refit, swap, wanda
from .quantization import round_to_nearest


def solve_with_data(
    config: RunConfig, name: str, weight: Tensor, hessian: Tensor, energy: float, given: Tensor | None = None
) -> LayerResult:
    """Solve one layer by the method that the options name.

    name     of the tensor, which has a sparsity of its own where the options hold an allocation
    weight   [rows, cols] as it is in the checkpoint
    hessian  [cols, cols] mean of x x^T over the calibration inputs
    energy   tr(W H W^T)
    given    [rows, cols] a pruned form, whose mask is taken over; None to look for one
    """
    if not isinstance(config, PruneConfig):
        return _swept(config, name, weight, hessian, energy, config.target(name), config.grid())
    grid, target = config.grid(), config.target(name)
    if given is not None:
        result = refit(weight, _masked(weight, given), hessian, name=name)
    else:
        assert target is not None
        alone = None if config.refit or config.swap else grid  # then a method rounds, too
        result = _pruned(config, name, weight, hessian, energy, target, alone)
        if result.quantized is not None:
            return result
        if config.refit or config.swap:
            result = _then(result, refit(weight, result.weight, hessian, name=name))
        if config.swap:
            result = _then(result, swap(weight, result.weight, hessian, target, name=name))
            result = _then(result, refit(weight, result.weight, hessian, name=name))
    if grid is None:
        return result
    order = config.activation_order
    return round_kept(weight, result, hessian, grid, damping=config.damping, activation_order=order, name=name)


def _pruned(
    config: PruneConfig, name: str, weight: Tensor, hessian: Tensor, energy: float, target: Pattern, grid: Grid | None
) -> LayerResult:
    if config.method == "admm":
        return admm(
            weight,
            hessian,
            target,
            grid=grid,
            steps=config.admm_steps,
            round_damping=config.damping,
            activation_order=config.activation_order,
            name=name,
        )
    if config.method == "wanda":
        return wanda(weight, hessian, target, name=name)
    if config.method == "magnitude":
        return magnitude(weight, target, hessian, name=name)
    return _swept(config, name, weight, hessian, energy, target, grid)


def _then(before: LayerResult, after: LayerResult) -> LayerResult:
    """The later result, with what the earlier one tells of its damping and time."""
    seconds = {phase: seconds + before.seconds.get(phase, 0.0) for phase, seconds in after.seconds.items()}
    return replace(after, damping=before.damping, seconds={**before.seconds, **seconds})


def _masked(weight: Tensor, given: Tensor) -> Tensor:
    """The weight with the zeros of a pruned form, whose own numbers and dtype are not looked at."""
    return torch.where(given != 0, weight, 0.0)


def _swept(
    config: RunConfig,
    name: str,
    weight: Tensor,
    hessian: Tensor,
    energy: float,
    target: Pattern | None,
    grid: Grid | None,
) -> LayerResult:
    order, options = config.activation_order, _sweep_options(config)
    return solve(weight, hessian, target, grid, activation_order=order, output_energy=energy, name=name, **options)


def _sweep_options(config: RunConfig) -> dict[str, Any]:
    return {
        "damping": config.damping,
        "block_size": config.block_size if isinstance(config, PruneConfig) else 128,
        "keep_zeros": isinstance(config, QuantizeConfig) and config.keep_zeros,
        "products": config.products,
    }


def batchable(config: RunConfig) -> bool:
    """Whether solve_batch_with_data() can take layers: the sweep alone solves them, in the order of their columns."""
    if isinstance(config, PruneConfig) and (
        config.method != "sparsegpt" or config.masks or config.refit or config.swap
    ):
        return False
    return config.needs_data and not config.activation_order


def solve_batch_with_data(
    config: RunConfig, names: Sequence[str], weights: Tensor, hessians: Tensor, energies: Sequence[float]
) -> list[LayerResult]:
    """Solve layers of one shape, and of one target, together: to rounding what solve_with_data() gives for each.

    weights   [batch, rows, cols], hessians [batch, cols, cols], names and energies [batch], as there
    Only for options that are batchable().
    """
    target, options = config.target(names[0]), _sweep_options(config)
    return solve_batch(weights, hessians, target, config.grid(), output_energies=energies, names=names, **options)


def graphs_of(
    config: RunConfig, device: torch.device, note: Callable[[str], None]
) -> contextlib.AbstractContextManager[object]:
    """Inside, solves are kept as CUDA graphs where the options ask for that and the device has them."""
    return captured_solves(note) if config.cuda_graphs and device.type == "cuda" else contextlib.nullcontext()


def solve_by_weight(config: RunConfig, name: str, weight: Tensor, given: Tensor | None = None) -> LayerResult:
    """Solve one layer without data: by magnitude or a mask that is given, to the nearest level of the grid, or both."""
    target, grid = config.target(name), config.grid()
    if given is not None:
        pruned = magnitude(_masked(weight, given), Unstructured(0.0), name=name)
    elif target is None:
        assert grid is not None
        return round_to_nearest(weight, grid, name=name)
    else:
        pruned = magnitude(weight, target, name=name)
    if grid is None:
        return pruned
    rounded = round_to_nearest(pruned.weight, grid, name=name)
    return replace(rounded, seconds={**pruned.seconds, "round": rounded.seconds["solve"]})
