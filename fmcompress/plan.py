"""What a run will do and need, found out before it starts: memory, time, bytes."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from .calibration import BATCH_TOKENS, Batch, Pairs, StreamedModel
from .checkpoint import Checkpoint
from .config import PruneConfig, RunConfig
from .layers import Chosen, Layer, needed_stacks
from .layerwise import FACTOR_COLS, split_bytes
from .memory import resident_bytes
from .pruning import FINAL_STEPS, LEVEL, REFIT_STEPS
from .ranks import assign

START_SECONDS = 5  # Python and its libraries, the tokenizer and the model's definition
DISK_BYTES_PER_SECOND = 300e6  # a guess, for runs that only read, write and sort


@dataclass(frozen=True)
class Plan:
    """What a run will do; bytes and seconds are estimates, output_bytes is exact for dense output.

    Of several ranks bytes of memory are those of each.
    """

    format: str
    blocks: int
    layers: int
    weights: int
    zeros: int
    bits: int | None
    solve_bytes: int
    output_bytes: int
    process_bytes: int
    seconds: float
    tokens: int = 0
    embedding_bytes: int = 0
    activation_bytes: int = 0
    block_bytes: int = 0
    hessian_bytes: int = 0
    training_bytes: int = 0

    @property
    def peak_bytes(self) -> int:
        """The largest sum of what is alive at one time, with the process as it is before the run."""
        solving = max(self.hessian_bytes + self.solve_bytes, self.training_bytes)
        walking = self.activation_bytes + self.block_bytes + solving
        return self.process_bytes + max(self.embedding_bytes + self.activation_bytes, walking)

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return {**asdict(self), "peak_bytes": self.peak_bytes}


def make_plan(
    source: Checkpoint,
    streamed: StreamedModel | None,
    chosen: Chosen,
    config: RunConfig,
    inputs: Mapping[str, Tensor | Pairs],
    ranks: int = 1,
) -> Plan:
    """Count and estimate a run. Reads no weights but those before the blocks, to run two tokens or an image up to them.

    inputs  "text" -> token ids [sequences, length], "images" -> pixels [count, channels, height, width], "pairs"
    """
    grid, device = config.grid(), torch.device("cpu") if streamed is None else streamed.device
    layers = [layer for some in chosen for layer in some.values()]
    output_bytes = source.total_bytes + sum(_change_of_bytes(source, layer, config) for layer in layers)
    counted: dict[str, Any] = {
        "format": config.written_as,
        "blocks": len(chosen),
        "layers": len(layers),
        "weights": sum(layer.rows * layer.cols for layer in layers),
        "zeros": sum(_zeros(layer, config) for layer in layers),
        "bits": None if grid is None else grid.bits,
        "solve_bytes": max(_solve_bytes(layer.rows, layer.cols, config, device) for layer in layers),
        "output_bytes": output_bytes,
        "process_bytes": resident_bytes(),
    }
    if not config.needs_data:
        return Plan(**counted, seconds=START_SECONDS + 3 * source.total_bytes / DISK_BYTES_PER_SECOND)
    assert streamed is not None
    walks = _walks(streamed, chosen, inputs, ranks)
    block_weights = [streamed.weights_of(index) for walk in walks for index in walk.groups]
    everything = sum(p.numel() for p in streamed.model.parameters())
    outside = everything - sum(streamed.weights_of(index) for index in range(len(streamed.blocks)))
    groups = [cols for walk in walks for cols in walk.groups.values()]
    at_once = [max(cols, default=0) ** 2 if config.true_sequential else sum(c * c for c in cols) for cols in groups]
    flops = sum(4 * streamed.weights_of(index) * walk.own for walk in walks for index in walk.groups)
    flops += sum(walk.own * c * c for walk in walks for cols in walk.groups.values() for c in cols)
    flops += sum(_longest(some, config, ranks) for some in chosen)
    itemsize = streamed.dtype.itemsize
    steps = getattr(config, "reconstruct", 0)
    together = min(BATCH_TOKENS, max(walk.own for walk in walks))
    flops += sum(6 * steps * together * weights for weights in block_weights)
    # a batch's activations of a block, about as many as twenty times its hidden states; weights, gradients and moments
    training = 4 * (20 * together * max(walk.width for walk in walks) + 5 * max(block_weights)) if steps else 0
    return Plan(
        **counted,
        tokens=sum({walk.kind: walk.tokens for walk in walks}.values()),
        embedding_bytes=outside * itemsize,
        activation_bytes=max((3 if steps else 2) * walk.own * walk.width for walk in walks) * itemsize,
        block_bytes=max(block_weights) * itemsize,
        hessian_bytes=4 * max(at_once, default=0),
        training_bytes=training,
        seconds=START_SECONDS + flops / _gemm_rate(device),
    )


def _change_of_bytes(source: Checkpoint, layer: Layer, config: RunConfig) -> int:
    """By how much a layer grows in the output; for the packed format an estimate, as more weights may become zero."""
    size, weights = source.entry(layer.tensor).dtype.itemsize, layer.rows * layer.cols
    grid = config.grid()
    if config.written_as == "dense":
        return 0
    kept = weights - _zeros(layer, config)
    packs = config.written_as == "packed" and config.target() is not None
    entries = (kept if packs else weights) * (8 * size if grid is None else grid.bits) // 8
    groups = 0 if grid is None else layer.rows * grid.groups(layer.cols)
    scales = groups * size + (0 if grid is None or grid.symmetric else groups * grid.bits // 8)
    return entries + weights // 8 * packs + scales - weights * size


def _zeros(layer: Layer, config: RunConfig) -> int:
    target = config.target(layer.tensor)
    return 0 if target is None else target.zeros(layer.rows, layer.cols)


def _solve_bytes(rows: int, cols: int, config: RunConfig, device: torch.device) -> int:
    """The weight, what is solved and the difference, and the factor with some panels of it; or what else is largest."""
    split = config.products == "tf32x3" and config.needs_data and device.type == "cuda"
    weights, swept = rows * cols, 3 * rows * cols + config.needs_data * cols * (cols + 4 * FACTOR_COLS)
    searched = (
        9 * weights + 5 * cols * cols if _is(config, "admm") else 0
    )  # the Hessian scaled, damped, factored, inverted
    fitted = 8 * weights + 2 * cols * cols if _refits(config) else 0
    return max(4 * swept + split * split_bytes(rows, cols), 4 * searched, 4 * fitted)


def _longest(layers: dict[str, Layer], config: RunConfig, ranks: int) -> int:
    """What the rank with most to solve of a block takes."""
    costs = [solve_flops(layer.rows, layer.cols, config) for layer in layers.values()]
    owners = assign(costs, ranks)
    return max(sum(cost for cost, owner in zip(costs, owners, strict=True) if owner == rank) for rank in range(ranks))


def solve_flops(rows: int, cols: int, config: RunConfig) -> int:
    """About what solving a layer takes, in floating-point operations; never 0."""
    product = 2 * rows * cols * cols
    if not config.needs_data:
        return rows * cols
    sweeps = config.bits is not None or (_is(config, "sparsegpt") and getattr(config, "masks", None) is None)
    flops = rows * cols + sweeps * (product // 2 + cols**3 // 3) + _refits(config) * REFIT_STEPS * product
    if isinstance(config, PruneConfig) and config.method == "admm":
        flops += (config.admm_steps + FINAL_STEPS) * product
        flops += -(-config.admm_steps // LEVEL) * cols**3  # an inversion for each penalty
    return flops


def _refits(config: RunConfig) -> int:
    """How often the kept weights of a layer are fitted once a method has chosen them."""
    if not isinstance(config, PruneConfig):
        return 0
    return 2 if config.swap else int(config.refit or config.masks is not None)


def _is(config: RunConfig, *methods: str) -> bool:
    return getattr(config, "method", "") in methods


@dataclass(frozen=True)
class _Walk:
    """One stack's share of a run: its tokens, those of the rank that has most of them, their width, and by block the
    widths of the layers' distinct inputs."""

    kind: str
    tokens: int
    own: int
    width: int
    groups: dict[int, list[int]]


def _walks(streamed: StreamedModel, chosen: Chosen, inputs: Mapping[str, Tensor | Pairs], ranks: int) -> list[_Walk]:
    walks: list[_Walk] = []
    batch = None
    for number in needed_stacks(streamed, chosen):
        stack = streamed.stacks[number]
        given: Any = inputs[stack.kind]
        if batch is not None and streamed.follows(number):
            batch = streamed.go_on(number, batch)
        else:
            two_tokens = torch.zeros(1, 2, dtype=torch.int64)
            few = given.one() if isinstance(given, Pairs) else two_tokens if stack.kind == "text" else given[:1]
            batch = streamed.embed(few, stack=number)
        each = given.shape[1] if stack.kind == "text" else batch.hidden.shape[1]
        first = streamed.first_of(number)
        groups = {i: _group_cols(streamed, i, chosen[i], batch) for i in range(first, first + len(stack.blocks))}
        walks.append(
            _Walk(stack.kind, len(given) * each, -(-len(given) // ranks) * each, batch.hidden.shape[-1], groups)
        )
    return walks


def _group_cols(streamed: StreamedModel, index: int, layers: dict[str, Layer], batch: Batch) -> list[int]:
    """The widths of the distinct inputs of a block's layers, seen by running the block on the meta device.

    Each part of each expert has inputs of its own, of which there are none on the meta device. Where a block does not
    run there, as its routing looks at numbers, all layers are taken to have inputs of their own.
    """
    seen: dict[int, Tensor] = {}

    def see(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        seen[id(args[0])] = args[0]

    on_meta = tree_map(lambda x: x.to("meta") if isinstance(x, Tensor) else x, (batch.calls, batch.handed))
    shadow = replace(batch, hidden=batch.hidden.to("meta"), calls=on_meta[0], handed=on_meta[1], like=None)
    places = [layer.place for layer in layers.values() if layer.place is not None]
    modules = [place.module for place in places if place.expert is None]
    handles = [module.register_forward_pre_hook(see) for module in modules]
    alone = [place for place in places if place.expert is not None]
    try:
        with torch.no_grad(), streamed.experts_skipped(index):
            streamed.run_block(index, streamed.blocks[index][1], shadow)
    except RuntimeError:
        seen, alone = {}, places
    finally:
        for handle in handles:
            handle.remove()
    batch.handed.update(shadow.handed)
    widths = {(id(place.module), place.key, place.expert): place.weight.shape[1] for place in alone}
    return [tensor.shape[-1] for tensor in seen.values()] + list(widths.values())


def _gemm_rate(device: torch.device, size: int = 1024) -> float:
    """Floating-point operations a second of float32 products, measured for a fraction of a second."""
    matrix = torch.ones(size, size, device=device)
    matrix @ matrix
    begin, count = time.perf_counter(), 0
    while time.perf_counter() - begin < 0.2:
        float((matrix @ matrix)[0, 0])
        count += 1
    return 2 * size**3 * count / (time.perf_counter() - begin)
