"""The workload of training a transformers model, counted from its config.json."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from ..calibration.architecture import Stack, build_on_meta, find_stacks
from ..checkpoint import Checkpoint
from ..errors import CheckpointError, ConfigError, in_one_line
from ..gradients import CocktailConfig
from ..gradients.config import BITS_OF
from ..gradients.traffic import traffic
from .plan import dealt
from .workload import Workload


class _Described(Checkpoint):
    """A folder of which only config.json is read."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.tensors, self.stored = folder, {}, {}


class _Weight(NamedTuple):
    """A parameter where a module uses it; a tied one is used twice.

    number   of the parameter, the same where tied
    numel    elements
    active   of them, those that a token is multiplied by: none of an embedding, some of experts
    """

    number: int
    numel: int
    active: float


class _Reached(Exception):
    """The first block is about to run."""


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
    attention: str = "flash",
    gradient_compression: float | Literal["cocktail"] = 1,
    activation_compression: float = 1,
) -> Workload:
    """The workload of a causal language model or another with one stack of blocks. No weights are read or needed.

    folder                         of a checkpoint, or one that holds config.json alone
    sequence_length                tokens of a sequence
    sequences                      of one replica in a step, all micro-batches together
    micro_batches                  into which they are cut evenly
    activation_dtype               fp32, fp16 or bf16: what is handed from stage to stage and stored for backward
    gradient_dtype                 fp32, fp16 or bf16: what replicas exchange
    optimizer_bytes_per_parameter  16: weight 2, gradient 2, copy in float32 4, Adam's two moments 8
    attention                      "eager" stores scores and their softmax for backward, "flash" does not
    gradient_compression           how many times fewer bytes are sent; "cocktail": as CocktailSGD with its defaults and
                                   so many replicas (two, if there is one) sends of this model, against gradient_dtype

    Counted for each stage, from its share of the blocks (`Plan.split`), what runs before them with the first stage and
    what runs after them with the last. A tied weight that two stages use counts in both: each holds a copy, and here
    their exchange of its gradient is left out.

    flops         6 x parameters of matrix products x tokens, and 12 x width of the heads together x sequence_length x
                  tokens for a block's attention (Chowdhery et al. 2022, appendix B), which takes no account of causal
                  masks, sliding windows or linear attention. A look-up of embeddings is no product, the head is; of
                  fused experts those count that a token is sent to
    state_bytes   parameters x optimizer_bytes_per_parameter
    stored_bytes  of a block, without recomputation, sequence_length x sequences x hidden size x 34, and "eager" heads x
                  sequence_length² x sequences x 5 (Korthikanti et al. 2022, eq. 1), of a micro-batch at 16 bit. It
                  stands for any block: an MLP four times as wide as the hidden size, and dropout, whose masks are one
                  byte at any dtype, so float32 has 66 and 9. Embeddings and the logits of the head are not in it

    Raises ConfigError for options that do not fit the model, CheckpointError for a folder or a config.json that
    transformers builds no model with blocks from.
    """
    counts = {"stages": stages, "replicas": replicas, "sequence_length": sequence_length, "sequences": sequences}
    _check_counts(counts | {"micro_batches": micro_batches})
    per_parameter = optimizer_bytes_per_parameter
    _check_types(activation_dtype, gradient_dtype, attention, per_parameter, gradient_compression)
    model, stack = _load(Path(folder))
    layers = len(stack.blocks)
    if stages > layers:
        raise ConfigError(f"stages: {folder} has {layers} blocks, which cannot be dealt out to {stages} stages.")

    hidden, heads, width = _sizes(model, folder)
    tokens, element = sequences * sequence_length, BITS_OF[activation_dtype] // 8
    held = _weights_of_stages(model, stack, stages)
    distinct = [list({weight.number: weight.numel for weight in weights}.values()) for weights in held]
    parameters = [sum(numels) for numels in distinct]
    blocks = [end - begin for begin, end in dealt(layers, stages)]
    products = [sum(weight.active for weight in weights) for weights in held]
    stored = hidden * (16 * element + 2) + (heads * sequence_length * (2 * element + 1) if attention == "eager" else 0)
    if gradient_compression == "cocktail":
        tensors = [numel for numels in distinct for numel in numels]
        gradient_compression = traffic(tensors, CocktailConfig(), max(2, replicas), vs=gradient_dtype).ratio
    return Workload(
        stages,
        replicas,
        tokens * hidden * element,
        tuple(count * BITS_OF[gradient_dtype] // 8 for count in parameters),
        micro_batches,
        activation_compression,
        gradient_compression,
        tuple(
            float(tokens * (6 * product + 12 * width * sequence_length * count))
            for product, count in zip(products, blocks, strict=True)
        ),
        tuple(count * per_parameter for count in parameters),
        tuple(count * stored * tokens // micro_batches for count in blocks),
        layers,
    )


def _check_counts(counts: dict[str, int]) -> None:
    for name, count in counts.items():
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise ConfigError(f"{name}: expected a whole number of at least 1, got {count!r}.")
    sequences, micro_batches = counts["sequences"], counts["micro_batches"]
    if sequences % micro_batches:
        raise ConfigError(f"micro_batches: {sequences} sequences cannot be cut evenly into {micro_batches}.")


def _check_types(
    activation_dtype: str, gradient_dtype: str, attention: str, per_parameter: Any, gradient_compression: Any
) -> None:
    for name, dtype in (("activation_dtype", activation_dtype), ("gradient_dtype", gradient_dtype)):
        if dtype not in BITS_OF:
            raise ConfigError(f"{name}: expected one of {', '.join(BITS_OF)}, got {dtype!r}.")
    if attention not in ("flash", "eager"):
        raise ConfigError(f"attention: expected flash or eager, got {attention!r}.")
    if not isinstance(per_parameter, int | float) or isinstance(per_parameter, bool) or not per_parameter >= 0:
        raise ConfigError(f"optimizer_bytes_per_parameter: expected a number of at least 0, got {per_parameter!r}.")
    if isinstance(gradient_compression, str) and gradient_compression != "cocktail":
        raise ConfigError(
            f"gradient_compression: expected a number of at least 1, or cocktail, got {gradient_compression!r}."
        )


def _load(folder: Path) -> tuple[Any, Stack]:
    """The model on the meta device, and its blocks."""
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder. Give that of a checkpoint, or one that holds its config.json.")
    described = _Described(folder)
    model = build_on_meta(described, torch.bfloat16)
    stacks = find_stacks(model, described)
    if len(stacks) > 1:
        raise ConfigError(
            f"{folder}: {type(model).__name__} has {len(stacks)} stacks of blocks, and a pipeline is planned for one."
        )
    if stacks[0].kind != "text":
        raise ConfigError(f"{folder}: {type(model).__name__} takes {stacks[0].kind}; expected a model of text.")
    return model, stacks[0]


def _sizes(model: Any, folder: str | Path) -> tuple[int, int, float]:
    """Hidden size, heads, and how wide these are together: the mean of keys and values."""
    config = model.config.get_text_config()
    hidden, heads = (getattr(config, name, None) for name in ("hidden_size", "num_attention_heads"))
    if not isinstance(hidden, int) or not isinstance(heads, int):
        raise ConfigError(f"{folder}: its config.json tells no hidden_size or no num_attention_heads.")
    head = getattr(config, "head_dim", None) or hidden / heads
    of_keys, of_values = (getattr(config, name, None) or head for name in ("qk_head_dim", "v_head_dim"))
    return hidden, heads, heads * (of_keys + of_values) / 2


def _weights_of_stages(model: Any, stack: Stack, stages: int) -> list[list[_Weight]]:
    """[stages] weights that each one's modules use, tied ones each time."""
    held: list[list[_Weight]] = [[] for _ in range(stages)]
    inside: set[nn.Module] = set()
    for (begin, end), weights in zip(dealt(len(stack.blocks), stages), held, strict=True):
        for _, block in stack.blocks[begin:end]:
            inside |= set(block.modules())
            weights += _weights(block, model)
    outside = [module for module in model.modules() if module not in inside]
    first = _before_blocks(stack, outside)
    for module in outside:
        held[0 if module in first else -1] += _own_weights(module, model)
    return held


def _before_blocks(stack: Stack, outside: list[nn.Module]) -> set[nn.Module]:
    """The modules outside that the model's own forward calls before its first block, seen on the meta device."""
    called: set[nn.Module] = set()

    def stop(module: nn.Module, _: Any) -> None:
        raise _Reached

    hooks = [module.register_forward_pre_hook(lambda module, _: called.add(module)) for module in outside]
    hooks.append(stack.blocks[0][1].register_forward_pre_hook(stop))
    inputs: dict[str, Any] = {"input_ids": torch.zeros(1, 2, dtype=torch.long, device="meta")}
    if "use_cache" in inspect.signature(stack.runner.forward).parameters:
        inputs["use_cache"] = True  # without a cache transformers looks into positions, which have no values on meta
    stack.runner.config.pad_token_id = None  # nor have the tokens among which it would look for padding
    try:
        with torch.no_grad():
            stack.runner(**inputs)
    except _Reached:
        return called
    except Exception as error:
        raise CheckpointError(
            f"{type(stack.runner).__name__}: unknown architecture: it does not reach its blocks on the meta device "
            f"({in_one_line(error)})."
        ) from None
    finally:
        for hook in hooks:
            hook.remove()
    raise CheckpointError(f"{type(stack.runner).__name__}: unknown architecture: it runs without its first block.")


def _weights(block: nn.Module, model: Any) -> Iterator[_Weight]:
    for module in block.modules():
        yield from _own_weights(module, model)


def _own_weights(module: nn.Module, model: Any) -> Iterator[_Weight]:
    for parameter in module._parameters.values():
        if parameter is not None:
            yield _Weight(id(parameter), parameter.numel(), _active(module, parameter, model))


def _active(module: nn.Module, parameter: nn.Parameter, model: Any) -> float:
    """Elements that a token is multiplied by in matrix products."""
    if parameter.dim() < 2 or isinstance(module, nn.Embedding):
        return 0
    if parameter.dim() == 2 or isinstance(module, nn.Conv1d):
        return parameter.numel()
    chosen = getattr(model.config.get_text_config(), "num_experts_per_tok", None)  # of [experts, …]
    if not isinstance(chosen, int):
        raise ConfigError("num_experts_per_tok: config.json does not tell how many experts a token is sent to.")
    return parameter.numel() * chosen / len(parameter)
