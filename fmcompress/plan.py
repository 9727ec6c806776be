"""What a run will do and need, found out before it starts: layers, memory, time, bytes."""

import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from .calibration import StreamedModel
from .config import PruneConfig
from .errors import ConfigError
from .layerwise import FACTOR_COLS


def choose_layers(streamed: StreamedModel, config: PruneConfig) -> list[dict[str, nn.Linear]]:
    """Per block: name within the block -> linear layer to prune. Names are matched as the checkpoint's tensor names.

    Raises ConfigError if nothing matches, if a pattern does not fit a shape, or for a bad regular expression.
    """
    wanted, unwanted = _matcher("include", config.include, True), _matcher("exclude", config.exclude, False)
    target = config.target()
    chosen: list[dict[str, nn.Linear]] = []
    for _, block in streamed.blocks:
        layers: dict[str, nn.Linear] = {}
        for name, module in block.named_modules():
            if isinstance(module, nn.Linear):
                tensor = streamed.tensor_name(module)
                if wanted(tensor) and not unwanted(tensor):
                    try:
                        target.check(module.out_features, module.in_features)
                    except ConfigError as error:
                        raise ConfigError(f"{tensor}: {error}") from None
                    layers[name] = module
        chosen.append(layers)
    if not any(chosen):
        raise ConfigError(_why_none(streamed))
    return chosen


def _why_none(streamed: StreamedModel) -> str:
    if any(isinstance(module, nn.Linear) for _, block in streamed.blocks for module in block.modules()):
        return "no linear layers matched. Loosen --include and --exclude; fmcompress inspect lists the names."
    kinds = sorted({type(module).__name__ for _, block in streamed.blocks for module in block.modules()} - {"Dropout"})
    return (
        f"no linear layers matched: the blocks of {type(streamed.model).__name__} hold none, but {', '.join(kinds)}. "
        "Only nn.Linear is pruned."
    )


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
    """What a run will do; bytes and seconds are estimates, output_bytes is exact."""

    blocks: int
    layers: int
    weights: int
    zeros: int
    tokens: int
    embedding_bytes: int
    activation_bytes: int
    block_bytes: int
    hessian_bytes: int
    solve_bytes: int
    output_bytes: int
    seconds: float

    @property
    def peak_bytes(self) -> int:
        """The largest sum of what is alive at one time, without Python and torch themselves."""
        walking = self.activation_bytes + self.block_bytes + self.hessian_bytes + self.solve_bytes
        return max(self.embedding_bytes + self.activation_bytes, walking)

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return {**asdict(self), "peak_bytes": self.peak_bytes}


def make_plan(
    streamed: StreamedModel, chosen: list[dict[str, nn.Linear]], config: PruneConfig, samples: int, length: int
) -> Plan:
    """Count and estimate a run without reading more than one embedding row's worth of weights into blocks."""
    target, tokens = config.target(), samples * length
    shapes = [(layer.out_features, layer.in_features) for layers in chosen for layer in layers.values()]
    needs_data = config.method == "sparsegpt"
    block_weights = [sum(p.numel() for p in block.parameters()) for _, block in streamed.blocks]
    inside = sum(block_weights)
    everything = sum(p.numel() for p in streamed.model.parameters())
    hidden = getattr(streamed.model.config.get_text_config(), "hidden_size", 0)
    groups = [_group_cols(streamed, index, layers) for index, layers in enumerate(chosen)] if needs_data else []
    at_once = [max(cols, default=0) ** 2 if config.true_sequential else sum(c * c for c in cols) for cols in groups]
    flops = 0
    if needs_data:
        flops += 4 * inside * tokens + sum(tokens * c * c for cols in groups for c in cols)
        flops += sum(rows * cols**2 + cols**3 // 3 for rows, cols in shapes)
    itemsize = streamed.dtype.itemsize
    return Plan(
        blocks=len(chosen),
        layers=len(shapes),
        weights=sum(rows * cols for rows, cols in shapes),
        zeros=sum(target.zeros(*shape) for shape in shapes),
        tokens=tokens if needs_data else 0,
        embedding_bytes=(everything - inside) * itemsize,
        activation_bytes=2 * tokens * hidden * itemsize if needs_data else 0,
        block_bytes=max(block_weights) * itemsize,
        hessian_bytes=4 * max(at_once, default=0),
        solve_bytes=max(_solve_bytes(rows, cols, needs_data) for rows, cols in shapes),
        output_bytes=streamed.checkpoint.total_bytes,
        seconds=flops / _gemm_rate(streamed.device),
    )


def _solve_bytes(rows: int, cols: int, needs_data: bool) -> int:
    """The weight, what is solved and the difference, and the factor with some panels of it."""
    return 4 * (3 * rows * cols + needs_data * cols * (cols + 4 * FACTOR_COLS))


def _group_cols(streamed: StreamedModel, index: int, layers: dict[str, nn.Linear]) -> list[int]:
    """The widths of the distinct inputs of a block's layers, seen by running the block on the meta device."""
    seen: dict[int, Tensor] = {}

    def see(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        seen[id(args[0])] = args[0]

    batch = streamed.embed(torch.zeros(1, 2, dtype=torch.int64))
    args, kwargs = tree_map(lambda x: x.to("meta") if isinstance(x, Tensor) else x, batch.calls[index])
    handles = [layer.register_forward_pre_hook(see) for layer in layers.values()]
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
