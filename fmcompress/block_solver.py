"""Solving the chosen layers of one block, once its weights are loaded."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from .calibration import Batch, Group, HessianCollector, finish_groups
from .config import PruneConfig, RunConfig
from .errors import CalibrationError
from .exchange import Solved, share_solved, sum_groups
from .job import Job, Observer
from .layer_batches import batches, solve_together, weight_of
from .layer_solver import solve_by_weight, solve_with_data
from .layers import Layer
from .layerwise import NM, LayerResult, all_finite, count_zeros
from .plan import solve_flops
from .ranks import assign
from .reconstruction import kept_entries, output_error, train_kept

Unit = tuple[list[str], Group | None, int]  # layers, what to solve them from (None: without data), tokens that they saw


def solve_without_data(job: Job, index: int, observer: Observer) -> list[Solved]:
    """Solve the chosen layers of a block one by one. Returns records and results."""
    return _solve_on_ranks(job, index, [(list(job.layers[index]), None, 0)], observer)


def solve_block(
    job: Job, index: int, block: nn.Module, batches: list[Batch], wanted: list[Tensor], observer: Observer
) -> list[Solved]:
    """Solve the chosen layers of a loaded block, whose weights change. Returns records and results in solving order.

    wanted  per batch what the dense model's block gives, to reconstruct it; empty where nobody asked for that
    """
    if not job.layers[index]:
        return []
    solved = _solve_layers(job, index, block, batches, observer)
    steps = job.config.reconstruct if isinstance(job.config, PruneConfig) else 0
    return _reconstructed(job, index, block, batches, wanted, solved, steps, observer) if steps else solved


def _solve_layers(job: Job, index: int, block: nn.Module, batches: list[Batch], observer: Observer) -> list[Solved]:
    layers = job.layers[index]
    groups = calibrate(job, index, block, batches, layers)
    units = _units(job, layers, groups)
    if not job.config.true_sequential:
        return _solve_on_ranks(job, index, units, observer)
    reached = {name for group in groups for name in group.layers}
    solved = _solve_on_ranks(job, index, [unit for unit in units if not reached.intersection(unit[0])], observer)
    for position, stage in enumerate(_stages(groups, layers)):
        wanted = {name: layers[name] for group in stage for name in group.layers}
        if position:
            # the earlier groups of this block are pruned by now: see what these are given since
            stage = calibrate(job, index, block, batches, wanted)
        solved += _solve_on_ranks(job, index, _units(job, wanted, stage), observer)
    return solved


def _reconstructed(
    job: Job,
    index: int,
    block: nn.Module,
    batches: list[Batch],
    wanted: list[Tensor],
    solved: list[Solved],
    steps: int,
    observer: Observer,
) -> list[Solved]:
    """The solved layers with weights that are trained together, or as they are if that lowers no error."""
    assert job.streamed is not None
    layers = {layer.tensor: layer for layer in job.layers[index].values()}
    kept = kept_entries(block, [layer.place for layer in layers.values() if layer.place is not None])
    given = (job.streamed, index, block, batches, wanted)
    before = output_error(*given, job.ranks)
    trained = train_kept(
        *given,
        kept,
        steps=steps,
        seed=job.config.seed,
        ranks=job.ranks,
        progress=lambda done: observer.training(index, done, steps),
    )
    changed = [(record, _trained(layers[record["tensor"]], result, block, trained)) for record, result in solved]
    for record, result in changed:
        _replace_weight(layers[record["tensor"]], result)
    after = output_error(*given, job.ranks)
    finite = all(all_finite(result.weight) for _, result in changed)  # a float16 weight may have overflowed
    if not (finite and after < before):
        changed, after = solved, before
        observer.note(f"block {index + 1}: reconstruction lowers no error, so it stays as it was solved")
        for record, result in changed:
            _replace_weight(layers[record["tensor"]], result)
    errors = {"block_error": after, "block_error_before": before}
    return [
        ({**record, "zeros": result.zeros, "sparsity": result.sparsity, **errors}, result) for record, result in changed
    ]


def _trained(layer: Layer, result: LayerResult, block: nn.Module, trained: dict[str, Tensor]) -> LayerResult:
    """A solved layer with its part of the trained weights; its losses stay those of the layer alone."""
    assert layer.place is not None
    weight = layer.place.within(trained[layer.place.name_in(block)])
    weight = weight.to(result.weight.dtype).contiguous().add_(0.0)  # no -0.0
    return replace(result, weight=weight, zeros=count_zeros(weight))


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
    seen = job.images is not None or job.pairs is not None
    videos = ", videos if it looks over time" if seen else ""
    for name, layer in layers.items() if job.config.few_tokens == "error" else ():
        if tokens.get(name, 0) < least:
            way_out = "magnitude" if isinstance(job.config, PruneConfig) else "rtn"
            raise CalibrationError(
                f"{layer.tensor}: {tokens.get(name, 0)} calibration tokens reached it, expected at least {least}. Give "
                f"more of them{videos}, add --exclude, or --few-tokens {way_out} to solve it without data."
            )
    units: list[Unit] = [(group.layers, group if group.tokens >= least else None, group.tokens) for group in groups]
    return units + [([name], None, 0) for name in layers if name not in tokens]


def _solve_on_ranks(job: Job, index: int, units: list[Unit], observer: Observer) -> list[Solved]:
    """Solve layers of a block, each on one rank, and give the results to all; their Hessians are freed."""
    names = [name for some, _, _ in units for name in some]
    layers = job.layers[index]
    costs = [solve_flops(layers[name].rows, layers[name].cols, job.config) for name in names]
    owners = dict(zip(names, assign(costs, job.ranks.count), strict=True))
    mine = {name: layers[name] for name in names if owners[name] == job.ranks.rank}
    together = batches(job, mine, [group for _, group, _ in units])
    groups = {name: group for some, group, _ in units for name in some if group is not None}
    results: dict[str, LayerResult] = {}
    own: dict[str, Solved] = {}
    with job.phases.of("solve"):
        for some, group, tokens in units:
            for name in filter(mine.__contains__, some):
                if name in together and name not in results:
                    names_of = together[name]
                    results.update(zip(names_of, solve_together(job, mine, groups, names_of), strict=True))
                result = results.pop(name, None) or _solve_layer(job, layers[name], name, group)
                own[name] = _settled(job, index, name, result, tokens, observer, by_data=group is not None)
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


def calibrate(job: Job, index: int, block: nn.Module, batches: list[Batch], layers: dict[str, Layer]) -> list[Group]:
    """Run a loaded block on the batches. Returns the Hessians of some of its layers, summed over the ranks."""
    assert job.streamed is not None
    collector = HessianCollector({name: layer.place for name, layer in layers.items() if layer.place is not None})
    with job.phases.of("calibrate"):
        try:
            for batch in batches:
                collector.next_batch(batch.real)
                job.streamed.run_block(index, block, batch)
        finally:
            collector.detach()
        groups = sum_groups(job.ranks, list(collector.groups()), job.device)
        finish_groups(groups, job.streamed.blocks[index][0])
    return groups


def _solve_layer(job: Job, layer: Layer, name: str, group: Group | None) -> LayerResult:
    """Solve a layer from its group, or without data where there is none."""
    weight = weight_of(job, layer)
    given = None if job.masks is None else layer.read(job.masks).to(job.device)
    if group is None:
        return solve_by_weight(job.config, layer.tensor, weight, given)
    return solve_with_data(job.config, layer.tensor, weight, group.hessian, group.energy[name], given)


def _settled(
    job: Job, index: int, name: str, result: LayerResult, tokens: int, observer: Observer, *, by_data: bool
) -> Solved:
    """A solved layer with its record; the running model gets its weight."""
    layer = job.layers[index][name]
    _replace_weight(layer, result)
    record = _record(layer, result, job.config, tokens, by_data=by_data)
    observer.layer(index, {**record, "seconds": result.seconds})
    return record, result


def _replace_weight(layer: Layer, result: LayerResult) -> None:
    """In the running model, where there is one."""
    for place in () if layer.place is None else (layer.place, *layer.twins):
        if not place.weight.is_meta:
            place.weight.copy_(result.weight)


def _record(layer: Layer, result: LayerResult, config: RunConfig, tokens: int, *, by_data: bool) -> dict[str, Any]:
    rows, cols = result.weight.shape
    target, grid = config.target(layer.tensor), config.grid()
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
