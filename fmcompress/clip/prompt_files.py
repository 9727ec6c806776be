"""Tuned prompts as files: safetensors that say which model and classes they are of."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..checkpoint.layout import read_header, read_metadata
from ..errors import CheckpointError, ConfigError, in_one_line
from .files import map_tensor, write_tensors
from .prompt_models import PromptModel

FORMAT = "fmcompress-prompt 1"


def save_prompt(
    path: str | Path, model: PromptModel, classes: Sequence[str], identity: Mapping[str, Any] | None = None
) -> None:
    """Write a prompt, whole or not at all.

    classes   that it was tuned for
    identity  of the embeddings that it was tuned on, as an EmbeddingSet has it

    Raises ConfigError for another suffix than .safetensors, DiskError.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ConfigError(f"{path}: expected a name that ends in .safetensors to write a prompt to.")
    arrays = {name: values.detach().cpu().numpy() for name, values in model.state_dict().items()}
    facts = {"classes": list(classes), "identity": dict(identity or {})}
    metadata = {name: json.dumps(value) for name, value in facts.items()}
    write_tensors(path, arrays, {"format": FORMAT, "kind": model.kind, **metadata})


def load_prompt(
    path: str | Path, model: PromptModel, classes: Sequence[str] = (), identity: Mapping[str, Any] | None = None
) -> tuple[str, ...]:
    """Give a model the prompt of a file, in place; returns the classes that it was tuned for.

    A prompt of vectors serves other classes, too; a linear one is of its classes alone, in their order.

    classes   of the model, to compare for a linear prompt
    identity  of the embeddings that it will meet, to compare if the file names its own

    Raises ConfigError for a prompt of another kind, size, model or other classes, CheckpointError for a damaged file.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"{path}: no such file. Give a prompt that fmcompress clip pseudolabel wrote.")
    entries, metadata = read_header(path), read_metadata(path)
    if metadata.get("format") != FORMAT:
        raise ConfigError(f"{path}: no prompt. Give one that fmcompress clip pseudolabel wrote.")
    if metadata.get("kind") != model.kind:
        raise ConfigError(f"{path}: expected a prompt of kind {model.kind}, got {metadata.get('kind')}.")
    try:
        names = tuple(json.loads(metadata["classes"]))
        own: dict[str, Any] = dict(json.loads(metadata["identity"]))
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path}: damaged: {type(error).__name__} {in_one_line(error)}. Tune again.") from None
    if own and identity and own != dict(identity):
        raise ConfigError(f"{path}: was tuned on embeddings of another model. Give that model, or tune again.")
    if model.kind == "linear" and classes and tuple(classes) != names:
        raise ConfigError(f"{path}: was tuned for {len(names)} other classes, or another order. Tune again.")
    state = model.state_dict()
    found = {name: list(entry.shape) for name, entry in entries.items()}
    expected = {name: list(values.shape) for name, values in state.items()}
    if found != expected:
        raise ConfigError(f"{path}: expected tensors {expected}, got {in_one_line(found)}. Use as many vectors.")
    model.load_state_dict({name: torch.from_numpy(np.array(map_tensor(path, entries[name]))) for name in state})
    return names
