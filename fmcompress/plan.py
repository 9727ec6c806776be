"""What a run will do and need, found out before it starts: layers, memory, time, bytes."""

import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from .calibration import Batch, StreamedModel
from .checkpoint import Checkpoint
from .config import RunConfig
from .errors import ConfigError
from .formats import compressed_tensors
from .layerwise import FACTOR_COLS
from .memory import resident_bytes

SOLVABLE = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
DISK_BYTES_PER_SECOND = 300e6  # a guess, for runs that only read, write and sort


@dataclass(frozen=True)
class Layer:
    """A weight to solve.

    tensor  its name in the checkpoint
    module  the layer that it belongs to; None where the model's definition is not needed
    """

    tensor: str
    rows: int
    cols: int
    module: nn.Linear | None = None


Chosen = list[dict[str, Layer]]  # per block: name within the block -> layer


def choose_layers(streamed: StreamedModel, config: RunConfig) -> Chosen:
    """The linear layers inside the blocks, as --include and --exclude let through; they match the tensors' names.

    Raises ConfigError if nothing matches, if a pattern or grid does not fit a shape, or for a bad regular expression.
    """
    wanted = _wanted(config)
    chosen: Chosen = []
    for _, block in streamed.blocks:
        linears = ((name, module) for name, module in block.named_modules() if isinstance(module, nn.Linear))
        named = ((name, Layer(streamed.tensor_name(m), m.out_features, m.in_features, m)) for name, m in linears)
        chosen.append({name: layer for name, layer in named if wanted(layer.tensor)})
    if not any(chosen):
        raise ConfigError(_why_none(streamed))
    _check_shapes(chosen, config)
    return chosen


# tables and scales that no method here is meant for, as checkpoints name them
NO_LINEAR = (
    r"(?i)((^|[._])(\w*embed\w*|emb|shared|wte|wpe|lm_head|output_layer|head|\w*norm\w*|ln\w*|position\w*|relative\w*"
    r"|router|gate)|^(model\.)?output)\.weight$"
)


def choose_tensors(source: Checkpoint, config: RunConfig) -> Chosen:
    """The matrices of any checkpoint, of an architecture that nobody need know, by their names and shapes.

    Without --include, those of other names than ...weight are left out, and tables and routers by their usual names.
    Blocks are the numbers in the names.
    Raises ConfigError as choose_layers does.
    """
    wanted = _wanted(config)
    blocks: dict[str, dict[str, Layer]] = {}
    for name, entry in source.tensors.items():
        if len(entry.shape) != 2 or entry.dtype not in SOLVABLE or not wanted(name):
            continue
        if config.include is None and (not name.endswith("weight") or re.search(NO_LINEAR, name)):
            continue
        number = re.match(r"(.*?[._]\d+)[._]", name)
        blocks.setdefault(number[1] if number else "", {})[name] = Layer(name, *entry.shape)
    if not blocks:
        raise ConfigError("no matrices matched. Loosen --include and --exclude; fmcompress inspect lists the names.")
    _check_shapes(list(blocks.values()), config)
    return list(blocks.values())


def _check_shapes(chosen: Chosen, config: RunConfig) -> None:
    target, grid = config.target(), config.grid()
    for layer in (layer for layers in chosen for layer in layers.values()):
        if target is not None:
            try:
                target.check(layer.rows, layer.cols)
            except ConfigError as error:
                raise ConfigError(f"{layer.tensor}: {error}") from None
        if config.written_as == "compressed-tensors":
            compressed_tensors.check_grid(layer.tensor, grid, layer.cols)


def holds_linear(streamed: StreamedModel) -> bool:
    """Whether the blocks of a model hold what choose_layers looks for."""
    return any(isinstance(module, nn.Linear) for _, block in streamed.blocks for module in block.modules())


def _why_none(streamed: StreamedModel) -> str:
    if holds_linear(streamed):
        return "no linear layers matched. Loosen --include and --exclude; fmcompress inspect lists the names."
    kinds = sorted({type(module).__name__ for _, block in streamed.blocks for module in block.modules()} - {"Dropout"})
    return (
        f"no linear layers matched: the blocks of {type(streamed.model).__name__} hold none, but {', '.join(kinds)}. "
        "Only nn.Linear is solved with data; --method magnitude and rtn take any matrix."
    )


def _wanted(config: RunConfig) -> Callable[[str], bool]:
    included, excluded = _matcher("include", config.include, True), _matcher("exclude", config.exclude, False)
    return lambda name: included(name) and not excluded(name)


def _matcher(option: str, pattern: str | None, default: bool) -> Callable[[str], bool]:
    if pattern is None:
        return lambda _: default
    try:
        regex = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"--{option}: {pattern!r} is no regular expression ({error}).") from None
    return lambda name: regex.search(name) is not None


@dataclass(frozen=True)
class Plan:
    """What a run will do; bytes and seconds are estimates, output_bytes is exact for dense output."""

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
    source: Checkpoint, streamed: StreamedModel | None, chosen: Chosen, config: RunConfig, samples: int, length: int
) -> Plan:
    """Count and estimate a run. Reads the embedding, to run two tokens up to the first block, and no other weights."""
    target, grid, tokens = config.target(), config.grid(), samples * length
    layers = [layer for some in chosen for layer in some.values()]
    output_bytes = source.total_bytes + sum(_change_of_bytes(source, layer, config) for layer in layers)
    counted: dict[str, Any] = {
        "blocks": len(chosen),
        "layers": len(layers),
        "weights": sum(layer.rows * layer.cols for layer in layers),
        "zeros": 0 if target is None else sum(target.zeros(layer.rows, layer.cols) for layer in layers),
        "bits": None if grid is None else grid.bits,
        "solve_bytes": max(_solve_bytes(layer.rows, layer.cols, config.needs_data) for layer in layers),
        "output_bytes": output_bytes,
        "process_bytes": resident_bytes(),
    }
    if not config.needs_data:
        return Plan(**counted, seconds=3 * source.total_bytes / DISK_BYTES_PER_SECOND)
    assert streamed is not None
    block_weights = [sum(p.numel() for p in block.parameters()) for _, block in streamed.blocks]
    inside = sum(block_weights)
    everything = sum(p.numel() for p in streamed.model.parameters())
    hidden = getattr(streamed.model.config.get_text_config(), "hidden_size", 0)
    batch = streamed.embed(torch.zeros(1, 2, dtype=torch.int64))
    groups = [_group_cols(streamed, index, some, batch) for index, some in enumerate(chosen)]
    at_once = [max(cols, default=0) ** 2 if config.true_sequential else sum(c * c for c in cols) for cols in groups]
    flops = 4 * inside * tokens + sum(tokens * c * c for cols in groups for c in cols)
    flops += sum(layer.rows * layer.cols**2 + layer.cols**3 // 3 for layer in layers)
    itemsize = streamed.dtype.itemsize
    return Plan(
        **counted,
        tokens=tokens,
        embedding_bytes=(everything - inside) * itemsize,
        activation_bytes=2 * tokens * hidden * itemsize,
        block_bytes=max(block_weights) * itemsize,
        hessian_bytes=4 * max(at_once, default=0),
        seconds=flops / _gemm_rate(streamed.device),
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


def _solve_bytes(rows: int, cols: int, needs_data: bool) -> int:
    """The weight, what is solved and the difference, and the factor with some panels of it."""
    return 4 * (3 * rows * cols + needs_data * cols * (cols + 4 * FACTOR_COLS))


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
