"""From a weight and its Hessian to a solved layer: factor, sweep, measure."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..errors import CalibrationError, ConfigError
from .captured import run_core
from .checks import check_finite_weight, check_options, check_solve
from .core import Factored, Numbers, Outcome, Recipe, activation_order, sweep_layer
from .factor import check_finite_hessian, factor_hessian, next_damping
from .grid import Grid
from .patterns import Pattern
from .products import Products
from .result import OFF_THE_GRID, Clock, LayerResult, check_finite_result, count_zeros, quadratic_form


@torch.no_grad()
def solve(
    weight: Tensor,
    hessian: Tensor,
    pattern: Pattern | None,
    grid: Grid | None,
    *,
    damping: float,
    block_size: int,
    activation_order: bool,
    output_energy: float | None,
    name: str,
    keep_zeros: bool = False,
    products: Products = "fp32",
) -> LayerResult:
    """Prune by a pattern, quantize to a grid, or both; fmcompress.pruning.sparsegpt describes the arguments.

    keep_zeros  weights that are 0 stay 0, as if a pattern had chosen them; not with a pattern
    products    "tf32x3" computes the wide products on a GPU as three TF32 products, see layerwise/products.py

    On a CPU the Hessian is factored step by step and each number is looked at when it is there. Elsewhere nothing is
    looked at until all of it is done, once: `seconds` then has the whole solve as one phase.
    """
    check_solve(weight, hessian, pattern, grid, damping, products)
    check_options(pattern, grid, block_size=block_size, activation_order=activation_order)
    if pattern is not None:
        pattern.check(*weight.shape)
    recipe = Recipe(pattern, grid, damping, block_size, activation_order, keep_zeros, products, output_energy is None)
    return _solved(weight, hessian, recipe, output_energy, name)


@torch.no_grad()
def solve_batch(
    weights: Tensor,
    hessians: Tensor,
    pattern: Pattern | None,
    grid: Grid | None,
    *,
    damping: float,
    block_size: int,
    output_energies: Sequence[float] | None,
    names: Sequence[str],
    keep_zeros: bool = False,
    products: Products = "fp32",
) -> list[LayerResult]:
    """Solve layers of one shape, such as the experts of a block, by the same launches as one of them.

    weights          [batch, rows, cols] any float dtype; left as they are
    hessians         [batch, cols, cols], each weight's own; left as they are
    damping          share of the mean diagonal that is added to it, as 0.01
    block_size       columns whose mask is chosen together, as 128
    output_energies  tr(W H W^T) of each, where the caller knows them
    names            of the layers, for what is raised
    returns          what solve() gives for each, to rounding, in order; their weights and codes are slices of one
                     tensor each, and `seconds` is each layer's share

    Layers whose Hessian needs more damping than was asked for are solved again, by themselves. All Hessians' factors
    are in memory at once. On a CPU, where launches cost little, solve() is as fast and keeps its own bits.
    Raises as solve() does; the message names the layer.
    """
    if weights.dim() != 3 or hessians.dim() != 3 or not len(weights) == len(hessians) == len(names):
        raise ConfigError(
            f"weights: expected [batch, rows, cols], a Hessian and a name for each, got {list(weights.shape)}, "
            f"{list(hessians.shape)} and {len(names)} names."
        )
    if output_energies is not None and len(output_energies) != len(names):
        raise ConfigError(f"output_energies: expected one for each of {len(names)} layers, got {len(output_energies)}.")
    if not len(weights):
        return []
    check_solve(weights[0], hessians[0], pattern, grid, damping, products)
    check_options(pattern, grid, block_size=block_size, activation_order=False)
    if pattern is not None:
        pattern.check(*weights.shape[1:])
    unknown = output_energies is None
    energies = [None] * len(names) if output_energies is None else list(output_energies)
    recipe = Recipe(pattern, grid, damping, block_size, False, keep_zeros, products, unknown)

    def alone(index: int) -> LayerResult:
        return _solved(weights[index], hessians[index], recipe, energies[index], names[index])

    if _changes_nothing(recipe, *weights.shape[1:]):
        return [alone(index) for index in range(len(names))]
    clock = Clock()
    outcome = run_core(weights, hessians.to(_compute_dtype(weights, hessians)), recipe)
    found = [Numbers(*numbers) for numbers in outcome.numbers.tolist()]
    clock.lap("solve")
    share = {"solve": clock.laps["solve"] / len(names)}
    results = []
    for index, (numbers, energy) in enumerate(zip(found, energies, strict=True)):
        if not math.isfinite(numbers.given) or numbers.failed:
            results.append(alone(index))  # raises, or raises the damping
            continue
        energy = numbers.energy if energy is None else energy
        result = _result(_layer_of(outcome, index), numbers, damping, energy, names[index], Clock())
        results.append(replace(result, seconds=share))
    return results


def _solved(weight: Tensor, hessian: Tensor, recipe: Recipe, energy: float | None, name: str) -> LayerResult:
    on_cpu, idle = weight.device.type == "cpu", _changes_nothing(recipe, *weight.shape)
    if on_cpu or idle:
        check_finite_weight(weight, name)
    if idle:
        return LayerResult(weight + 0.0, 0.0, 0.0, count_zeros(weight))
    clock = Clock()
    hessian = hessian.to(_compute_dtype(weight, hessian))
    run = _solve_by_steps if on_cpu else _solve_at_once
    outcome, numbers, damping = run(weight, hessian, recipe, name, clock)
    return _result(outcome, numbers, damping, numbers.energy if energy is None else energy, name, clock)


def _changes_nothing(recipe: Recipe, rows: int, cols: int) -> bool:
    return recipe.grid is None and (recipe.pattern is None or recipe.pattern.zeros(rows, cols) == 0)


def _compute_dtype(weight: Tensor, hessian: Tensor) -> torch.dtype:
    return torch.float64 if weight.dtype == hessian.dtype == torch.float64 else torch.float32


def _solve_by_steps(
    weight: Tensor, hessian: Tensor, recipe: Recipe, name: str, clock: Clock
) -> tuple[Outcome, Numbers, float]:
    """On a CPU. Returns the outcome, its numbers, and the damping that was needed."""
    energy = 0.0
    if recipe.energy:
        energy = quadratic_form(weight.to(hessian.dtype), hessian)
        clock.lap("energy")
    order = activation_order(hessian) if recipe.activation_order else None
    factor = factor_hessian(hessian if order is None else hessian[order][:, order], recipe.damping, name)
    clock.lap("factor")
    added = torch.tensor(factor.added, dtype=torch.float64)
    factored = Factored(factor.upper, None, factor.dead, added, torch.tensor(False))
    solved, numbers, quantized = sweep_layer(weight, order, factored, recipe)
    read = [float(number) for number in numbers]
    return Outcome(solved, torch.empty(0), quantized), Numbers(*read)._replace(energy=energy), factor.damping


def _solve_at_once(
    weight: Tensor, hessian: Tensor, recipe: Recipe, name: str, clock: Clock
) -> tuple[Outcome, Numbers, float]:
    """On a GPU: all of it is queued, then the numbers are read, once. Returns as _solve_by_steps() does."""
    while True:
        outcome = run_core(weight, hessian, recipe)
        numbers = Numbers(*outcome.numbers.tolist())
        if not math.isfinite(numbers.given):  # or their sum has overflowed
            check_finite_weight(weight, name)
            check_finite_hessian(hessian, name)
        if not numbers.failed:
            return outcome, numbers, recipe.damping
        recipe = replace(recipe, damping=next_damping(recipe.damping, name))


def _layer_of(outcome: Outcome, index: int) -> Outcome:
    """One layer of a batch."""
    quantized = outcome.quantized
    if quantized is not None:
        parts = {part: getattr(quantized, part)[index] for part in ("codes", "scale", "zero")}
        quantized = replace(quantized, **parts)
    return Outcome(outcome.weight[index], outcome.numbers[index], quantized)


def _result(outcome: Outcome, numbers: Numbers, damping: float, energy: float, name: str, clock: Clock) -> LayerResult:
    """What a solved layer tells of itself. Raises CalibrationError if it holds no numbers."""
    if not math.isfinite(numbers.damped + energy):
        raise CalibrationError(f"{name}: the loss is not finite. Scale the Hessian or the weight.")
    clock.lap("solve")
    if not math.isfinite(numbers.solved):
        remedy = "Raise the damping" + ("." if outcome.quantized is None else f". {OFF_THE_GRID}")
        check_finite_result(outcome.weight, name, remedy)
    # where every column is dead, the stand-in diagonal is all that the damped loss measures
    all_dead = numbers.dead == outcome.weight.shape[1]
    loss = 0.0 if all_dead else max(0.0, numbers.damped - numbers.added * numbers.squares)
    clock.lap("report")
    return LayerResult(
        weight=outcome.weight,
        loss=loss,
        relative_error=loss / energy if energy > 0 else 0.0,
        zeros=int(numbers.zeros),
        damping=damping,
        dead_columns=int(numbers.dead),
        seconds=clock.laps,
        quantized=outcome.quantized,
    )
