"""Solving the chosen layers of one block, once its weights are loaded."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from .calibration import Batch, Group, HessianCollector, StreamedModel
from .config import PruneConfig
from .errors import CalibrationError
from .plan import Plan
from .pruning import NM, LayerResult, magnitude, sparsegpt


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

    streamed: StreamedModel
    config: PruneConfig
    layers: list[dict[str, nn.Linear]]
    windows: Tensor | None  # [sequences, length] int64 calibration tokens; None for a method without data
    plan: Plan


Solved = tuple[dict[str, Any], LayerResult]


def solve_block(job: Job, index: int, block: nn.Module, batches: list[Batch], observer: Observer) -> list[Solved]:
    """Solve the chosen layers of a loaded block, whose weights change. Returns records and results in solving order."""
    layers, solved = job.layers[index], list[Solved]()
    if job.windows is None:
        for name in layers:
            solved.append(_solve_layer(job, index, name, None, observer))
        return solved
    if not layers:
        return solved
    groups = _calibrate(job, index, block, batches, layers)
    for position, group in enumerate(groups):
        if job.config.true_sequential and position:
            # the earlier groups of this block are pruned by now: see what this one is given since
            group = _calibrate(job, index, block, batches, {name: layers[name] for name in group.layers})[0]
        for name in group.layers:
            solved.append(_solve_layer(job, index, name, group, observer))
        group.hessian = torch.empty(0)
    return solved


def _calibrate(
    job: Job, index: int, block: nn.Module, batches: list[Batch], layers: dict[str, nn.Linear]
) -> list[Group]:
    collector = HessianCollector(layers)
    try:
        for batch in batches:
            collector.next_batch(batch.real)
            job.streamed.run_block(index, block, batch)
    finally:
        collector.detach()
    groups = list(collector.groups())
    for group in groups:
        group.finish(job.streamed.blocks[index][0])
    never = layers.keys() - {name for group in groups for name in group.layers}
    if never:
        raise CalibrationError(
            f"{job.streamed.blocks[index][0]}.{min(never)}: no calibration token reached it. Add --exclude."
        )
    return groups


def _solve_layer(job: Job, index: int, name: str, group: Group | None, observer: Observer) -> Solved:
    module, config, target = job.layers[index][name], job.config, job.config.target()
    tensor = job.streamed.tensor_name(module)
    weight = job.streamed.checkpoint.read(tensor).to(job.streamed.device)
    if group is None:
        result = magnitude(weight, target, name=tensor)
    else:
        result = sparsegpt(
            weight,
            group.hessian,
            target,
            damping=config.damping,
            block_size=config.block_size,
            output_energy=group.energy[name],
            name=tensor,
        )
    module.weight.data = result.weight.to(module.weight.dtype)
    record = _record(tensor, result, target, 0 if group is None else group.tokens)
    observer.layer(index, {**record, "seconds": result.seconds})
    return record, result


def _record(tensor: str, result: LayerResult, target: Any, tokens: int) -> dict[str, Any]:
    rows, cols = result.weight.shape
    pattern = {"keep": target.keep, "group": target.group} if isinstance(target, NM) else {}
    measured = {"loss": result.loss, "relative_error": result.relative_error} if tokens else {}
    return {
        "tensor": tensor,
        "rows": rows,
        "cols": cols,
        "zeros": result.zeros,
        "sparsity": result.sparsity,
        **pattern,
        **measured,
        "damping": result.damping,
        "dead_columns": result.dead_columns,
        "tokens": tokens,
    }
