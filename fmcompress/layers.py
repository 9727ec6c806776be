"""Which weights a run solves: the linear layers and experts of a known model, or matrices by their names."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .calibration import Place, StreamedModel
from .checkpoint import Checkpoint
from .config import RunConfig
from .errors import ConfigError
from .formats import compressed_tensors

SOLVABLE = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Layer:
    """A weight to solve.

    tensor  its name in the checkpoint; NAME[INDEX] is a slice of a tensor of three axes
    place   where it is in the model; None where the model's definition is not needed
    twins   the other places of the same block that it fills
    """

    tensor: str
    rows: int
    cols: int
    place: Place | None = None
    twins: tuple[Place, ...] = ()

    @property
    def transposed(self) -> bool:
        """Whether it is stored as [cols, rows]."""
        return self.place is not None and self.place.transposed

    @property
    def is_linear(self) -> bool:
        """Whether it is the whole weight of an nn.Linear."""
        return self.place is not None and isinstance(self.place.module, nn.Linear) and self.place.rows == slice(None)

    @property
    def is_expert(self) -> bool:
        """Whether the model holds it in a tensor of several experts."""
        return self.place is not None and self.place.expert is not None

    def read(self, source: Checkpoint) -> Tensor:
        """The weight [rows, cols]."""
        stored = source.read(self.tensor)
        return stored.T.contiguous() if self.transposed else stored


Chosen = list[dict[str, Layer]]  # per block: name within the block -> layer


def choose_layers(streamed: StreamedModel, config: RunConfig) -> Chosen:
    """The weights inside the blocks, as --include and --exclude let through; they match the tensors' names.

    Linear layers, GPT-2's Conv1D, and each expert of a mixture. Of a weight that several layers share only the first.

    Raises ConfigError if nothing matches, if a pattern or grid does not fit a shape, or for a bad regular expression.
    """
    wanted, before = _wanted(config), set[str]()
    chosen: Chosen = []
    for index in range(len(streamed.blocks)):
        layers = {n: layer for n, layer in _layers_of(streamed, index).items() if layer.tensor not in before}
        chosen.append({name: layer for name, layer in layers.items() if wanted(layer.tensor)})
        before.update(layer.tensor for layer in layers.values())
    if not any(chosen):
        raise ConfigError(_why_none(streamed, wanted))
    _check_shapes(chosen, config)
    return chosen


def solved_before(streamed: StreamedModel, chosen: Chosen) -> list[set[str]]:
    """Per block: the checkpoint's tensors in it that are solved, or parts of which are, with an earlier block."""
    solved, found = set[str](), list[set[str]]()
    for (_, block), layers in zip(streamed.blocks, chosen, strict=True):
        found.append(solved.intersection(streamed.stored_names(block)))
        names = [layer.tensor for layer in layers.values()]
        solved.update(n if n in streamed.checkpoint.tensors else n.rpartition("[")[0] for n in names)
    return found


def needed_stacks(streamed: StreamedModel, chosen: Chosen) -> list[int]:
    """The stacks that must run: those that hold a chosen layer, and those that run before one of them."""
    holding = {streamed.stack_at(index) for index, layers in enumerate(chosen) if layers}
    needed: list[int] = []
    for number in reversed(range(len(streamed.stacks))):
        if number in holding or (number + 1 in needed and streamed.follows(number + 1)):
            needed.insert(0, number)
    return needed


def last_to_run(streamed: StreamedModel, chosen: Chosen, stack: int) -> int:
    """The last block that holds a chosen layer, of a stack or of those that run before or after it; -1 if none does."""
    path = streamed.stacks[stack].path
    here = [index for index in range(len(chosen)) if streamed.stacks[streamed.stack_at(index)].path == path]
    return max((index for index in here if chosen[index]), default=-1)


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
    wanted, known = _wanted(config), {} if streamed is None else _known_layers(streamed)
    blocks: dict[str, dict[str, Layer]] = {}
    for name, entry in source.tensors.items():
        fused = len(entry.shape) == 3 and "experts" in name
        if (len(entry.shape) != 2 and not fused) or entry.dtype not in SOLVABLE or not wanted(name):
            continue
        if config.include is None and not fused and (not name.endswith("weight") or re.search(NO_LINEAR, name)):
            continue
        number = re.match(r"(.*?[._]\d+)[._]", name)
        block = blocks.setdefault(number[1] if number else "", {})
        for one in [f"{name}[{expert}]" for expert in range(entry.shape[0])] if fused else [name]:
            block[one] = known.get(one) or Layer(one, entry.shape[-2], entry.shape[-1])
    if not blocks:
        raise ConfigError("no matrices matched. Loosen --include and --exclude; fmcompress inspect lists the names.")
    _check_shapes(list(blocks.values()), config)
    return list(blocks.values())


def _check_shapes(chosen: Chosen, config: RunConfig) -> None:
    _check_allocation(chosen, config)
    for layer in (layer for layers in chosen for layer in layers.values()):
        target = config.target(layer.tensor)
        if target is not None:
            try:
                target.check(layer.rows, layer.cols)
            except ConfigError as error:
                raise ConfigError(f"{layer.tensor}: {error}") from None
    if config.written_as == "compressed-tensors":
        compressed_tensors.check_grid(
            config.grid(), {layer.tensor: layer.cols for layers in chosen for layer in layers.values()}
        )


def _check_allocation(chosen: Chosen, config: RunConfig) -> None:
    names = {layer.tensor for layers in chosen for layer in layers.values()}
    strangers = [name for name in getattr(config, "allocation", None) or () if name not in names]
    if strangers:
        raise ConfigError(
            f"allocation: {strangers[0]!r} is no chosen layer. Leave it out, or loosen --include and --exclude; "
            "fmcompress inspect lists the names."
        )


def holds_linear(streamed: StreamedModel) -> bool:
    """Whether the blocks of a model hold what choose_layers looks for."""
    return bool(_known_layers(streamed))


def _layers_of(streamed: StreamedModel, index: int) -> dict[str, Layer]:
    """By name within a block: what choose_layers looks for."""
    uses: dict[str, list[tuple[str, Place]]] = {}
    for name, tensor, place in streamed.places(index):
        uses.setdefault(tensor, []).append((name, place))
    layers: dict[str, Layer] = {}
    for tensor, ((name, place), *others) in uses.items():
        rows, cols = place.weight.shape
        layers[name] = Layer(tensor, rows, cols, place, tuple(twin for _, twin in others))
    return layers


def _known_layers(streamed: StreamedModel) -> dict[str, Layer]:
    """By name in the checkpoint: what choose_layers looks for, in all blocks."""
    blocks = (_layers_of(streamed, index) for index in range(len(streamed.blocks)))
    return {layer.tensor: layer for block in blocks for layer in block.values()}


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
        "Only linear layers and experts are solved with data; --method magnitude and rtn take any matrix."
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
