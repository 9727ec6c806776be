"""Which layers of a block are solved together on a GPU: those of one shape and method, each from its own Hessian."""

from collections.abc import Hashable, Iterable

import torch
from torch import Tensor

from .calibration import Group
from .checkpoint.layout import find_entry
from .job import Job
from .layer_solver import batchable, solve_batch_with_data
from .layers import Layer
from .layerwise import LayerResult, Products, split_bytes


def room_bytes(device: torch.device) -> int:
    """What the layers of a batch may take beside their Hessians: an eighth of a GPU's memory.

    A quarter of what is free where that is less. Which layers come together can change their last bits, so what
    happens to be free, as before and after --resume, decides only where half of the memory is taken already.
    Nothing on a CPU: a launch costs little there, and layers that are solved one by one keep their bits.
    """
    if device.type != "cuda":
        return 0
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # torch's own, yet free
    free, total = torch.cuda.mem_get_info(device)
    return min(total // 8, (free + unused) // 4)


def needed_bytes(rows: int, cols: int, products: Products = "fp32") -> int:
    """An estimate of what one layer of a batch takes, all of it in float32.

    Its Hessian stacked, kept for a graph, damped and factored; its weight stacked, kept and solved; its change, and
    what is computed from that; its codes. Products of split factors keep the two parts of its factor and of its change.
    """
    copies = split_bytes(rows, cols) if products == "tf32x3" else 0
    return 4 * 4 * cols * cols + (5 * 4 + 1) * rows * cols + copies


def batches(job: Job, layers: dict[str, Layer], groups: Iterable[Group | None]) -> dict[str, list[str]]:
    """For each layer that has company the names of those that it is solved with, its own too, in their order.

    layers  those that this rank solves, in order
    groups  of the block; layers of one group, which share a Hessian, never come together
    """
    room = room_bytes(job.device) if batchable(job.config) and job.masks is None else 0
    if room <= 0:
        return {}
    alike: dict[Hashable, list[str]] = {}
    for group in groups:
        for position, name in enumerate([] if group is None else group.layers):
            if name in layers:
                layer = layers[name]
                entry = find_entry(job.source.tensors, layer.tensor)
                dtype = None if entry is None else entry.dtype  # None where the source is packed
                key = (position, layer.rows, layer.cols, dtype, job.config.target(layer.tensor))
                alike.setdefault(key, []).append(name)
    found: dict[str, list[str]] = {}
    for names in alike.values():
        layer = layers[names[0]]
        count = max(1, room // needed_bytes(layer.rows, layer.cols, job.config.products))
        for begin in range(0, len(names), count):
            together = names[begin : begin + count]
            if len(together) > 1:
                found |= dict.fromkeys(together, together)
    return found


def solve_together(job: Job, layers: dict[str, Layer], groups: dict[str, Group], names: list[str]) -> list[LayerResult]:
    """Solve the layers of a batch, each from its own group. Raises as for one layer; the message names it."""
    weights = torch.stack([weight_of(job, layers[name]) for name in names])
    hessians = torch.stack([groups[name].hessian for name in names])
    energies = [groups[name].energy[name] for name in names]
    return solve_batch_with_data(job.config, [layers[name].tensor for name in names], weights, hessians, energies)


def weight_of(job: Job, layer: Layer) -> Tensor:
    """The weight [rows, cols] as the checkpoint has it: a copy of the loaded one where that was not converted."""
    if layer.place is not None and job.streamed is not None:
        loaded, pieces = layer.place.weight, job.streamed.sources[id(layer.place.module), layer.place.key]
        # of several tensors that make up a parameter, those of other dtypes have been converted to the first one's
        if not loaded.is_meta and {job.source.entry(piece.name).dtype for piece in pieces} == {loaded.dtype}:
            return loaded.clone(memory_format=torch.contiguous_format)
    return layer.read(job.source).to(job.device)
