"""Which weights a run solves: the linear layers of a known model, or matrices by their names."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from .calibration import StreamedModel
from .checkpoint import Checkpoint
from .config import RunConfig
from .errors import ConfigError
from .formats import compressed_tensors

SOLVABLE = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


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
        raise ConfigError(_why_none(streamed, wanted))
    _check_shapes(chosen, config)
    return chosen


# tables and scales that no method here is meant for, as checkpoints name them
NO_LINEAR = (
    r"(?i)((^|[._])(\w*embed\w*|emb|shared|wte|wpe|lm_head|output_layer|head|\w*norm\w*|ln\w*|position\w*|relative\w*"
    r"|router|gate)|^(model\.)?output)\.weight$"
)


def choose_tensors(source: Checkpoint, config: RunConfig, streamed: StreamedModel | None = None) -> Chosen:
    """The matrices of any checkpoint, of an architecture that nobody need know, by their names and shapes.

    Without --include, those of other names than ...weight are left out, and tables and routers by their usual names.
    Blocks are the numbers in the names.

    streamed  the model where it is known, to tell which of them are linear layers

    Raises ConfigError as choose_layers does.
    """
    wanted, modules = _wanted(config), {} if streamed is None else _linear_layers(streamed)
    blocks: dict[str, dict[str, Layer]] = {}
    for name, entry in source.tensors.items():
        if len(entry.shape) != 2 or entry.dtype not in SOLVABLE or not wanted(name):
            continue
        if config.include is None and (not name.endswith("weight") or re.search(NO_LINEAR, name)):
            continue
        number = re.match(r"(.*?[._]\d+)[._]", name)
        blocks.setdefault(number[1] if number else "", {})[name] = Layer(name, *entry.shape, modules.get(name))
    if not blocks:
        raise ConfigError("no matrices matched. Loosen --include and --exclude; fmcompress inspect lists the names.")
    _check_shapes(list(blocks.values()), config)
    return list(blocks.values())


def _check_shapes(chosen: Chosen, config: RunConfig) -> None:
    target = config.target()
    for layer in (layer for layers in chosen for layer in layers.values()):
        if target is not None:
            try:
                target.check(layer.rows, layer.cols)
            except ConfigError as error:
                raise ConfigError(f"{layer.tensor}: {error}") from None
    if config.written_as == "compressed-tensors":
        compressed_tensors.check_grid(
            config.grid(), {layer.tensor: layer.cols for layers in chosen for layer in layers.values()}
        )


def holds_linear(streamed: StreamedModel) -> bool:
    """Whether the blocks of a model hold what choose_layers looks for."""
    return bool(_linear_layers(streamed))


def _linear_layers(streamed: StreamedModel) -> dict[str, nn.Linear]:
    """The linear layers inside the blocks, by the names of their weights in the checkpoint."""
    modules = (module for _, block in streamed.blocks for module in block.modules())
    return {streamed.tensor_name(module): module for module in modules if isinstance(module, nn.Linear)}


def _why_none(streamed: StreamedModel, wanted: Callable[[str], bool]) -> str:
    others = sorted(name for name in streamed.checkpoint.tensors if wanted(name))
    if holds_linear(streamed) and others:
        return (
            f"no linear layers matched: what does, {others[0]} first, is no linear layer inside a block. Only those "
            "are solved with data; --method magnitude and rtn take any matrix."
        )
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
