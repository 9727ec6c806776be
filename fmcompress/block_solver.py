"""Solving the chosen layers of one block, once its weights are loaded."""

from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from .calibration import Batch, Group, HessianCollector, StreamedModel
from .checkpoint import Checkpoint
from .config import PruneConfig, QuantizeConfig, RunConfig
from .errors import CalibrationError
from .exchange import Solved, share_solved, sum_groups
from .layers import Chosen, Layer
from .layerwise import NM, LayerResult, Pattern, solve
from .plan import Plan, solve_flops
from .pruning import admm, magnitude, refit, wanda
from .quantization import round_to_nearest
from .ranks import Ranks, assign


class Observer(Protocol):
    """Who watches a run."""

    def start(self, blocks: int, done: int) -> None:
        """The pass begins; `done` blocks are finished already."""

    def layer(self, block: int, record: dict[str, Any]) -> None:
        """A layer of a block was solved."""

    def block(self, block: int) -> None:
        """A block is finished and on disk."""

    def note(self, text: str) -> None:
        """Something that a person should see."""


@dataclass
class Job:
    """A run that is ready to start: inputs read and checked, nothing written."""

    source: Checkpoint
    config: RunConfig
    layers: Chosen
    device: torch.device
    plan: Plan
    streamed: StreamedModel | None = None  # None for a method that does not run the model
    windows: Tensor | None = None  # [sequences, length] int64 calibration tokens; None where no layer looks at text
    notes: list[str] = field(default_factory=list)  # what a person should know before the run
    ranks: Ranks = field(default_factory=Ranks)  # the processes that share the work
    images: Tensor | None = None  # [count, channels, height, width] pixels; None where no layer looks at images


Unit = tuple[list[str], Group | None, int]  # layers, what to solve them from (None: without data), tokens that they saw


def solve_without_data(job: Job, index: int, observer: Observer) -> list[Solved]:
    """Solve the chosen layers of a block one by one. Returns records and results."""
    return _solve_on_ranks(job, index, [(list(job.layers[index]), None, 0)], observer)


def solve_block(job: Job, index: int, block: nn.Module, batches: list[Batch], observer: Observer) -> list[Solved]:
    """Solve the chosen layers of a loaded block, whose weights change. Returns records and results in solving order."""
    layers = job.layers[index]
    if not layers:
        return []
    groups = _calibrate(job, index, block, batches, layers)
    units = _units(job, layers, groups)
    if not job.config.true_sequential:
        return _solve_on_ranks(job, index, units, observer)
    reached = {name for group in groups for name in group.layers}
    solved = _solve_on_ranks(job, index, [unit for unit in units if not reached.intersection(unit[0])], observer)
    for position, stage in enumerate(_stages(groups, layers)):
        wanted = {name: layers[name] for group in stage for name in group.layers}
        if position:
            # the earlier groups of this block are pruned by now: see what these are given since
            stage = _calibrate(job, index, block, batches, wanted)
        solved += _solve_on_ranks(job, index, _units(job, wanted, stage), observer)
    return solved


def _stages(groups: list[Group], layers: dict[str, Layer]) -> list[list[Group]]:
    """The groups in order, those of the experts together that have the same part in each."""
    stages: dict[tuple[int, str], list[Group]] = {}
    for group in groups:
        place = layers[group.layers[0]].place
        assert place is not None
        stages.setdefault((id(place.module), place.key), []).append(group)
    return list(stages.values())


def _units(job: Job, layers: dict[str, Layer], groups: list[Group]) -> list[Unit]:
    """What to solve some layers from: their groups, or nothing where too few tokens reached them.

    Raises CalibrationError for such a layer where that was not asked for.
    """
    least = job.config.min_tokens
    tokens = {name: group.tokens for group in groups for name in group.layers}
    for name, layer in layers.items() if job.config.few_tokens == "error" else ():
        if tokens.get(name, 0) < least:
            way_out = "magnitude" if isinstance(job.config, PruneConfig) else "rtn"
            raise CalibrationError(
                f"{layer.tensor}: {tokens.get(name, 0)} calibration tokens reached it, expected at least {least}. Give "
                f"more of them, add --exclude, or --few-tokens {way_out} to solve it without data."
            )
    units: list[Unit] = [(group.layers, group if group.tokens >= least else None, group.tokens) for group in groups]
    return units + [([name], None, 0) for name in layers if name not in tokens]


def _solve_on_ranks(job: Job, index: int, units: list[Unit], observer: Observer) -> list[Solved]:
    """Solve layers of a block, each on one rank, and give the results to all; their Hessians are freed."""
    names = [name for some, _, _ in units for name in some]
    layers = job.layers[index]
    costs = [solve_flops(layers[name].rows, layers[name].cols, job.config) for name in names]
    owners = dict(zip(names, assign(costs, job.ranks.count), strict=True))
    own: dict[str, Solved] = {}
    for some, group, tokens in units:
        for name in some:
            if owners[name] == job.ranks.rank:
                own[name] = _solve_layer(job, index, name, group, tokens, observer)
        if group is not None:
            group.hessian = torch.empty(0)
    return [_on_all_ranks(job, index, name, owners[name], own.get(name), observer) for name in names]


def _on_all_ranks(job: Job, index: int, name: str, owner: int, own: Solved | None, observer: Observer) -> Solved:
    """What the owner of a layer has solved; the block of the other ranks gets the weight."""
    record, result = share_solved(job.ranks, owner, own, job.device)
    if own is None:
        _replace_weight(job.layers[index][name], result)
        observer.layer(index, {**record, "seconds": result.seconds})
    return record, result


def _calibrate(job: Job, index: int, block: nn.Module, batches: list[Batch], layers: dict[str, Layer]) -> list[Group]:
    assert job.streamed is not None
    collector = HessianCollector({name: layer.place for name, layer in layers.items() if layer.place is not None})
    try:
        for batch in batches:
            collector.next_batch(batch.real)
            job.streamed.run_block(index, block, batch)
    finally:
        collector.detach()
    groups = sum_groups(job.ranks, list(collector.groups()), job.device)
    for group in groups:
        group.finish(job.streamed.blocks[index][0])
    return groups


def _solve_layer(job: Job, index: int, name: str, group: Group | None, tokens: int, observer: Observer) -> Solved:
    """Solve a layer from its group, or without data where there is none."""
    layer, by_data = job.layers[index][name], group is not None
    weight = layer.read(job.source).to(job.device)
    if group is None:
        result = _without_data(job.config, layer, weight)
    else:
        result = _with_data(job.config, layer, weight, group, group.energy[name])
    _replace_weight(layer, result)
    record = _record(layer, result, job.config, tokens, by_data=by_data)
    observer.layer(index, {**record, "seconds": result.seconds})
    return record, result


def _replace_weight(layer: Layer, result: LayerResult) -> None:
    """In the running model, where there is one."""
    if layer.place is not None and not layer.place.weight.is_meta:
        layer.place.weight.copy_(result.weight)


def _with_data(config: RunConfig, layer: Layer, weight: Tensor, group: Group, energy: float) -> LayerResult:
    target = config.target()
    if not isinstance(config, PruneConfig) or target is None:
        return _swept(config, layer, weight, group, energy)
    if config.method == "admm":
        return admm(weight, group.hessian, target, name=layer.tensor)
    result = (
        _swept(config, layer, weight, group, energy)
        if config.method == "sparsegpt"
        else _scored(config.method, layer, weight, group, target)
    )
    if not config.refit:
        return result
    fitted = refit(weight, result.weight, group.hessian, name=layer.tensor)
    return replace(fitted, damping=result.damping, seconds={**result.seconds, **fitted.seconds})


def _scored(method: str, layer: Layer, weight: Tensor, group: Group, target: Pattern) -> LayerResult:
    if method == "wanda":
        return wanda(weight, group.hessian, target, name=layer.tensor)
    return magnitude(weight, target, group.hessian, name=layer.tensor)


def _swept(config: RunConfig, layer: Layer, weight: Tensor, group: Group, energy: float) -> LayerResult:
    block_size = config.block_size if isinstance(config, PruneConfig) else 128
    keep_zeros = isinstance(config, QuantizeConfig) and config.keep_zeros
    return solve(
        weight,
        group.hessian,
        config.target(),
        config.grid(),
        damping=config.damping,
        block_size=block_size,
        activation_order=config.activation_order,
        output_energy=energy,
        name=layer.tensor,
        keep_zeros=keep_zeros,
    )


def _without_data(config: RunConfig, layer: Layer, weight: Tensor) -> LayerResult:
    target, grid = config.target(), config.grid()
    if target is None:
        assert grid is not None
        return round_to_nearest(weight, grid, name=layer.tensor)
    pruned = magnitude(weight, target, name=layer.tensor)
    if grid is None:
        return pruned
    rounded = round_to_nearest(pruned.weight, grid, name=layer.tensor)
    return replace(rounded, seconds={**pruned.seconds, "round": rounded.seconds["solve"]})


def _record(layer: Layer, result: LayerResult, config: RunConfig, tokens: int, *, by_data: bool) -> dict[str, Any]:
    rows, cols = result.weight.shape
    target, grid = config.target(), config.grid()
    pattern = {"keep": target.keep, "group": target.group} if isinstance(target, NM) else {}
    levels = {} if grid is None else {"bits": grid.bits, "group_size": grid.group_size, "symmetric": grid.symmetric}
    measured = {"loss": result.loss, "relative_error": result.relative_error} if by_data else {}
    solved_by = {"solved_by": config.few_tokens} if config.needs_data and not by_data else {}
    return {
        "tensor": layer.tensor,
        "rows": rows,
        "cols": cols,
        **({"transposed": True} if layer.transposed else {}),
        **solved_by,
        "zeros": result.zeros,
        "sparsity": result.sparsity,
        **pattern,
        **levels,
        **measured,
        "damping": result.damping,
        "dead_columns": result.dead_columns,
        "tokens": tokens,
    }
