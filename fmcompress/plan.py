"""What a run will do and need, found out before it starts: memory, time, bytes."""

import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from .calibration import Batch, StreamedModel
from .checkpoint import Checkpoint
from .config import RunConfig
from .layers import Chosen, Layer
from .layerwise import FACTOR_COLS
from .memory import resident_bytes
from .pruning import ADMM_STEPS, REFIT_STEPS
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

    @property
    def peak_bytes(self) -> int:
        """The largest sum of what is alive at one time, with the process as it is before the run."""
        walking = self.activation_bytes + self.block_bytes + self.hessian_bytes + self.solve_bytes
        return self.process_bytes + max(self.embedding_bytes + self.activation_bytes, walking)

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return {**asdict(self), "peak_bytes": self.peak_bytes}


def make_plan(
    source: Checkpoint,
    streamed: StreamedModel | None,
    chosen: Chosen,
    config: RunConfig,
    samples: int,
    length: int,
    ranks: int = 1,
) -> Plan:
    """Count and estimate a run. Reads the embedding, to run two tokens up to the first block, and no other weights."""
    target, grid, tokens = config.target(), config.grid(), samples * length
    layers = [layer for some in chosen for layer in some.values()]
    output_bytes = source.total_bytes + sum(_change_of_bytes(source, layer, config) for layer in layers)
    counted: dict[str, Any] = {
        "format": config.written_as,
        "blocks": len(chosen),
        "layers": len(layers),
        "weights": sum(layer.rows * layer.cols for layer in layers),
        "zeros": 0 if target is None else sum(target.zeros(layer.rows, layer.cols) for layer in layers),
        "bits": None if grid is None else grid.bits,
        "solve_bytes": max(_solve_bytes(layer.rows, layer.cols, config) for layer in layers),
        "output_bytes": output_bytes,
        "process_bytes": resident_bytes(),
    }
    if not config.needs_data:
        return Plan(**counted, seconds=START_SECONDS + 3 * source.total_bytes / DISK_BYTES_PER_SECOND)
    assert streamed is not None
    block_weights = [sum(p.numel() for p in block.parameters()) for _, block in streamed.blocks]
    inside = sum(block_weights)
    everything = sum(p.numel() for p in streamed.model.parameters())
    hidden = getattr(streamed.model.config.get_text_config(), "hidden_size", 0)
    batch = streamed.embed(torch.zeros(1, 2, dtype=torch.int64))
    groups = [_group_cols(streamed, index, some, batch) for index, some in enumerate(chosen)]
    at_once = [max(cols, default=0) ** 2 if config.true_sequential else sum(c * c for c in cols) for cols in groups]
    own = -(-samples // ranks) * length  # tokens of the rank that has most
    flops = 4 * inside * own + sum(own * c * c for cols in groups for c in cols)
    flops += sum(_longest(some, config, ranks) for some in chosen)
    itemsize = streamed.dtype.itemsize
    return Plan(
        **counted,
        tokens=tokens,
        embedding_bytes=(everything - inside) * itemsize,
        activation_bytes=2 * own * hidden * itemsize,
        block_bytes=max(block_weights) * itemsize,
        hessian_bytes=4 * max(at_once, default=0),
        seconds=START_SECONDS + flops / _gemm_rate(streamed.device),
    )


def _change_of_bytes(source: Checkpoint, layer: Layer, config: RunConfig) -> int:
    """By how much a layer grows in the output; for the packed format an estimate, as more weights may become zero."""
    size, weights = source.tensors[layer.tensor].dtype.itemsize, layer.rows * layer.cols
    target, grid = config.target(), config.grid()
    if config.written_as == "dense":
        return 0
    kept = weights if target is None else weights - target.zeros(layer.rows, layer.cols)
    packs = config.written_as == "packed" and target is not None
    entries = (kept if packs else weights) * (8 * size if grid is None else grid.bits) // 8
    groups = 0 if grid is None else layer.rows * grid.groups(layer.cols)
    scales = groups * size + (0 if grid is None or grid.symmetric else groups * grid.bits // 8)
    return entries + weights // 8 * packs + scales - weights * size


def _solve_bytes(rows: int, cols: int, config: RunConfig) -> int:
    """The weight, what is solved and the difference, and the factor with some panels of it; or what else is largest."""
    weights, swept = rows * cols, 3 * rows * cols + config.needs_data * cols * (cols + 4 * FACTOR_COLS)
    searched = 9 * weights + 5 * cols * cols if _is(config, "admm") else 0  # eigenvectors, and the solver's copies
    fitted = 8 * weights + 2 * cols * cols if getattr(config, "refit", False) else 0
    return 4 * max(swept, searched, fitted)


def _longest(layers: dict[str, Layer], config: RunConfig, ranks: int) -> int:
    """What the rank with most to solve of a block takes."""
    costs = [solve_flops(layer.rows, layer.cols, config) for layer in layers.values()]
    owners = assign(costs, ranks)
    return max(sum(cost for cost, owner in zip(costs, owners, strict=True) if owner == rank) for rank in range(ranks))


def solve_flops(rows: int, cols: int, config: RunConfig) -> int:
    """About what solving a layer takes, in floating-point operations; never 0."""
    product = 2 * rows * cols * cols
    if _is(config, "admm"):
        return (2 * ADMM_STEPS + REFIT_STEPS) * product + 10 * cols**3  # and the eigendecomposition
    swept = product // 2 + cols**3 // 3 if not _is(config, "wanda", "magnitude") else rows * cols
    return swept + (REFIT_STEPS * product if getattr(config, "refit", False) else 0)


def _is(config: RunConfig, *methods: str) -> bool:
    return getattr(config, "method", "") in methods


def _group_cols(streamed: StreamedModel, index: int, layers: dict[str, Layer], batch: Batch) -> list[int]:
    """The widths of the distinct inputs of a block's layers, seen by running the block on the meta device."""
    seen: dict[int, Tensor] = {}

    def see(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        seen[id(args[0])] = args[0]

    args, kwargs = tree_map(lambda x: x.to("meta") if isinstance(x, Tensor) else x, batch.calls[index])
    modules = [layer.module for layer in layers.values() if layer.module is not None]
    handles = [module.register_forward_pre_hook(see) for module in modules]
    try:
        with torch.no_grad():
            streamed.blocks[index][1](batch.hidden.to("meta"), *args, **kwargs)
    finally:
        for handle in handles:
            handle.remove()
    return [tensor.shape[-1] for tensor in seen.values()]


def _gemm_rate(device: torch.device, size: int = 1024) -> float:
    """Floating-point operations a second of float32 products, measured for a fraction of a second."""
    matrix = torch.ones(size, size, device=device)
    matrix @ matrix
    begin, count = time.perf_counter(), 0
    while time.perf_counter() - begin < 0.2:
        float((matrix @ matrix)[0, 0])
        count += 1
    return 2 * size**3 * count / (time.perf_counter() - begin)
