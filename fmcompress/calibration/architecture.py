"""What transformers knows of an architecture: the module tree without weights, its blocks and what runs them."""

import inspect
import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..checkpoint import Checkpoint
from ..errors import CheckpointError, ConfigError, in_one_line


def own_tensors(module: nn.Module) -> list[tuple[str, Tensor]]:
    """A module's own parameters and saved buffers, without those of its children."""
    saved = [(key, buffer) for key, buffer in module._buffers.items() if key not in module._non_persistent_buffers_set]
    return [(key, tensor) for key, tensor in [*module._parameters.items(), *saved] if tensor is not None]


def build_on_meta(checkpoint: Checkpoint, dtype: torch.dtype) -> Any:
    """The model that config.json tells of, without weights: of the class that wrote it, where transformers has that.

    Raises CheckpointError if transformers does not know it. Code from the checkpoint is never run.
    """
    import transformers

    from ..models import register

    register()
    _ = checkpoint.config  # its errors are clearer than those of transformers
    try:
        config = transformers.AutoConfig.from_pretrained(
            checkpoint.folder, local_files_only=True, trust_remote_code=False
        )
        with torch.device("meta"):
            model = _class_of(checkpoint, config)._from_config(config, dtype=dtype)
    except Exception as error:
        raise CheckpointError(
            f"{checkpoint.folder}: unknown architecture: transformers {transformers.__version__} builds no model from "
            f"its config.json ({in_one_line(error)})."
        ) from None
    return model.eval()


def _class_of(checkpoint: Checkpoint, config: Any) -> Any:
    """The class that `architectures` names; else the causal language model of that config, else its bare model."""
    import transformers

    for name in checkpoint.config.get("architectures") or ():
        named: Any = getattr(transformers, str(name), None)
        is_model = isinstance(named, type) and issubclass(named, transformers.PreTrainedModel)
        if is_model and named.config_class is type(config):
            return named
    heads = transformers.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING  # where those of fmcompress.models are registered
    head: Any = heads.get(type(config), None)
    if getattr(head, "__name__", None) in (checkpoint.config.get("architectures") or ()):
        return head
    for mapping in (transformers.MODEL_FOR_CAUSAL_LM_MAPPING, transformers.MODEL_MAPPING):
        if type(config) in mapping:
            found = mapping[type(config)]
            return found[0] if isinstance(found, tuple) else found
    raise ValueError(f"no model of type {config.model_type}")


def is_causal_lm(model: Any) -> bool:
    """Whether a model predicts the next token, as perplexity and generation want it."""
    import transformers

    found = transformers.MODEL_FOR_CAUSAL_LM_MAPPING.get(type(model.config), ())
    return type(model) in (found if isinstance(found, tuple) else (found,))


@dataclass(frozen=True)
class Stack:
    """Blocks that hand hidden states to each other.

    path    of the model that runs them, within the whole one
    runner  the smallest part of the model whose own forward reaches them from inputs of one kind: the whole model where
            that is so, a tower of a model of two
    kind    "text" or "images"; "pairs" of both where that alone reaches them
    blocks  (name, module)
    looks   whether they attend to what another stack gives, of a model of images and texts
    """

    path: str
    runner: Any
    kind: str
    blocks: list[tuple[str, nn.Module]]
    looks: bool = False


KINDS = {"input_ids": "text", "pixel_values": "images"}  # by the inputs that a forward names
CROSS = re.compile(r"(?i)cross|encoder_attn|encdec")  # attention of one tower to another, as models name it


def find_stacks(model: Any, checkpoint: Checkpoint, *, pairs: bool = False) -> list[Stack]:
    """Lists of members of the classes that transformers never splits over devices, in the order in which they run.

    Where a model names no such classes, of those whose members it can recompute one by one.
    Of several that one runner has, the longest is taken; both where it is an encoder with a decoder.

    pairs  the whole model runs all of them, those last that look at another tower; and of what it can recompute, too,
           since BLIP names only half of its classes
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    classes = set(model._no_split_modules or ())
    if pairs or not classes:
        classes |= {type(m).__name__ for m in model.modules() if isinstance(m, GradientCheckpointingLayer)}
    by_runner: dict[str, list[Stack]] = {}
    for path, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and any(type(block).__name__ in classes for block in module):
            at, runner, kind = _runner(model, path, checkpoint)
            blocks = [(f"{path}.{index}", block) for index, block in enumerate(module)]
            by_runner.setdefault(at, []).append(Stack(at, runner, kind, blocks, kind == "pairs"))
    if not by_runner:
        raise CheckpointError(
            f"{checkpoint.folder}: unknown architecture: {type(model).__name__} has no list of blocks."
        )
    stacks: list[Stack] = []
    for found in by_runner.values():
        both = getattr(found[0].runner.config, "is_encoder_decoder", False)
        stacks += found if both else [max(found, key=lambda stack: len(stack.blocks))]
    if not pairs:
        return stacks
    if not takes_pairs(model):
        raise ConfigError(
            f"{checkpoint.folder}: {type(model).__name__} does not take images and texts together, as a manifest has "
            "them. Give --calibration a text or a folder of images."
        )
    in_order = sorted(stacks, key=lambda stack: stack.looks)
    return [Stack("", model, "pairs", stack.blocks, stack.looks) for stack in in_order]


def takes_pairs(model: Any) -> bool:
    """Whether a model's own forward takes a text and an image at once."""
    return _inputs_of(model) == KINDS.keys()


def _inputs_of(module: nn.Module) -> set[str]:
    return set(inspect.signature(module.forward).parameters.keys() & KINDS.keys())


def _runner(model: Any, path: str, checkpoint: Checkpoint) -> tuple[str, Any, str]:
    from transformers import PreTrainedModel

    names = path.split(".")
    for depth in range(len(names)):
        at = ".".join(names[:depth])
        module = model.get_submodule(at)
        if isinstance(module, PreTrainedModel):
            given = _inputs_of(module)
            if len(given) == 1:
                looks = takes_pairs(model) and _looks_elsewhere(model, module, path)
                return at, module, "pairs" if looks else KINDS[given.pop()]
    raise CheckpointError(
        f"{checkpoint.folder}: unknown architecture: no part of {type(model).__name__} runs {path} from text or images "
        "alone."
    )


def _looks_elsewhere(model: nn.Module, runner: Any, path: str) -> bool:
    """Whether blocks attend to what comes from outside of their runner; an encoder with a decoder has it inside."""
    within = getattr(runner.config, "is_encoder_decoder", False)
    return not within and any(CROSS.search(name) for name, _ in model.get_submodule(path).named_modules())


def longest_sequence(model: nn.Module) -> int | None:
    """How many tokens a model takes at once; None where it sets no bound."""
    longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)  # type: ignore[union-attr,operator]
    for name, module in model.named_modules():
        # RoBERTa counts positions from behind the padding's
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding) and module.padding_idx is not None:
            return module.num_embeddings - module.padding_idx - 1
    return longest


def materialise_buffers(model: Any, device: torch.device) -> None:
    """Compute the buffers that no checkpoint stores, such as rotary frequencies, as transformers does on loading."""
    for path, module in model.named_modules():
        keys = [key for key in module._non_persistent_buffers_set if module._buffers.get(key) is not None]
        for key in keys:
            empty = torch.empty_like(module._buffers[key], device=device)
            module._buffers[key] = empty.fill_(torch.nan) if empty.is_floating_point() else empty.fill_(0)
        if keys:
            _initialising(model, path)._init_weights(module)
        for key in keys:
            if module._buffers[key].is_floating_point() and module._buffers[key].isnan().any():
                raise CheckpointError(
                    f"unknown architecture: buffer {path}.{key} cannot be computed without its weights."
                )


def _initialising(model: Any, path: str) -> Any:
    """The innermost model around a module: transformers lets each initialise what is its own, as BLIP's towers do."""
    from transformers import PreTrainedModel

    names = path.split(".")
    around = (model.get_submodule(".".join(names[:depth])) for depth in reversed(range(1, len(names) + 1)))
    return next((module for module in around if isinstance(module, PreTrainedModel)), model)
