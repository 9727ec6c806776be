"""The workload of training a transformers model, counted from its config without weights."""

from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import nn

from ..calibration.architecture import build_on_meta, find_stacks
from ..checkpoint import Checkpoint
from ..errors import ConfigError
from ..gradients import CocktailConfig
from ..gradients.traffic import traffic
from .plan import dealt
from .workload import Workload

BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}
Attention = Literal["flash", "eager"]


def workload_of_model(
    folder: str | Path,
    *,
    stages: int,
    replicas: int,
    sequence_length: int,
    sequences: int,
    micro_batches: int = 1,
    activation_dtype: str = "bf16",
    gradient_dtype: str = "fp16",
    optimizer_bytes_per_parameter: float = 16,
    attention: Attention = "flash",
    gradient_compression: float | Literal["cocktail"] = 1.0,
    activation_compression: float = 1.0,
) -> Workload:
    """What training the model of a folder asks for; only its config.json is read.

    sequences                      of a replica in a step, all micro-batches together
    activation_dtype               of what stages hand over and keep: fp32, fp16 or bf16
    gradient_dtype                 of what replicas exchange
    optimizer_bytes_per_parameter  of weights, gradients and optimizer; 16 is Adam in mixed precision: half-precision
                                   weight and gradient, float32 weight and two moments
    attention                      "eager" keeps its scores for the backward, "flash" does not
    gradient_compression           times fewer gradient bytes; "cocktail": what cocktail_hook's defaults save

    A stage has its blocks as Plan.split deals them out; the first one what comes before the blocks as well, the last
    one the norm and the head. A tied head is a weight of its own there if there are several stages. Operations: 6 a
    token for each weight of a matrix product, and 12 x hidden size x sequence length a token and block for attention
    (Chowdhery et al. 2022, appendix B). Kept activations: Korthikanti et al. 2022, equation 1, in 16 bits 34 bytes a
    token and hidden unit in each block, and 5 x heads x sequence length / hidden size of them with eager attention.

    Raises CheckpointError for a folder without a config that transformers knows, ConfigError for the rest.
    """
    for name, value in (("activation_dtype", activation_dtype), ("gradient_dtype", gradient_dtype)):
        if value not in BYTES:
            raise ConfigError(f"{name}: expected one of {', '.join(BYTES)}, got {value!r}.")
    if attention not in get_args(Attention):
        raise ConfigError(f"attention: expected one of {', '.join(get_args(Attention))}, got {attention!r}.")
    for name, count in (("sequences", sequences), ("sequence_length", sequence_length), ("stages", stages)):
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise ConfigError(f"{name}: expected a whole number of at least 1, got {count!r}.")
    model, parts = _parts(folder, stages)
    config = model.config.get_text_config()
    hidden, heads = int(config.hidden_size), int(config.num_attention_heads)
    tokens = sequences * sequence_length
    weights = [sum(_sizes(part)) for part in parts]
    split = dealt(len(_blocks(model, folder)), stages)
    products = [
        6 * _product_weights(part) + 12 * hidden * sequence_length * (last - first)
        for part, (first, last) in zip(parts, split, strict=True)
    ]
    kept = 34 + (5 * heads * sequence_length / hidden if attention == "eager" else 0)
    of_block = tokens / micro_batches * hidden * kept * BYTES[activation_dtype] / 2
    if gradient_compression == "cocktail":
        numels = [numel for part in parts for numel in _sizes(part)]
        gradient_compression = traffic(numels, CocktailConfig(), max(2, replicas), vs=gradient_dtype).ratio
    return Workload(
        stages,
        replicas,
        tokens * hidden * BYTES[activation_dtype],
        tuple(float(BYTES[gradient_dtype] * count) for count in weights),
        micro_batches,
        activation_compression,
        gradient_compression,
        tuple(float(count * tokens) for count in products),
        tuple(float(optimizer_bytes_per_parameter * count) for count in weights),
        tuple(float(of_block * (last - first)) for first, last in split),
        split[-1][1],
    )


class _Architecture(Checkpoint):
    """A folder of which only config.json is read."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)


def _blocks(model: Any, folder: str | Path) -> list[tuple[str, nn.Module]]:
    stacks = find_stacks(model, _Architecture(folder))
    if len(stacks) > 1:
        raise ConfigError(
            f"{folder}: {type(model).__name__} has {len(stacks)} stacks of blocks, and a pipeline goes through one. "
            "Give the workload's own numbers instead."
        )
    return stacks[0].blocks


def _parts(folder: str | Path, stages: int) -> tuple[Any, list[list[nn.Module]]]:
    """The model on the meta device, and the modules with weights of each stage."""
    model = build_on_meta(_Architecture(folder), torch.float32)
    blocks = _blocks(model, folder)
    if stages > len(blocks):
        raise ConfigError(f"stages: {stages} of them for the {len(blocks)} blocks of {folder}. Take fewer.")
    names = [name for name, _ in blocks]
    parts = [[module for _, module in blocks[first:last]] for first, last in dealt(len(blocks), stages)]
    after = False  # modules come in the order in which they are declared: embeddings, blocks, norm, head
    for name, module in model.named_modules():
        inside = any(name == block or name.startswith(f"{block}.") for block in names)
        after = after or inside
        if not inside and next(module.parameters(recurse=False), None) is not None:
            parts[-1 if after else 0].append(module)
    return model, parts


def _sizes(part: list[nn.Module]) -> list[int]:
    """Of the parameters, each once."""
    return [tensor.numel() for tensor in {id(p): p for module in part for p in module.parameters()}.values()]


def _product_weights(part: list[nn.Module]) -> int:
    """Weights that a token is multiplied with: matrices, but not tables that are looked up."""
    tables = {id(m.weight) for module in part for m in module.modules() if isinstance(m, nn.Embedding)}
    heads = {id(m.weight) for module in part for m in module.modules() if isinstance(m, nn.Linear)}
    found = {id(p): p for module in part for p in module.parameters() if p.dim() > 1}
    return sum(p.numel() for key, p in found.items() if key not in tables or key in heads)
