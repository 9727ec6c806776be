"""Whether models can be merged at all: one architecture, the same tensors of the same shapes, one vocabulary."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..checkpoint import read_error
from ..errors import CheckpointError
from .open_models import Source

# what a config.json must agree in, where both have it; sizes of vocabularies are told by the tensors
_STRUCTURE = {
    "architectures", "model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "d_model", "d_ff", "num_layers", "num_heads", "n_embd", "n_layer", "n_head",
    "num_experts", "num_local_experts",
}  # fmt: skip
_OF_VOCABULARY = re.compile(r"embed|wte|lm_head|shared|proj_out")


def check_configs(sources: Sequence[Source]) -> None:
    """Raise CheckpointError for the first thing in which config.json of two models disagree, where both have one."""
    told = [(one.label, dict(_structure(one.config))) for one in sources if one.config is not None]
    for label, structure in told[1:]:
        first, wanted = told[0]
        for key, value in structure.items():
            if key in wanted and wanted[key] != value:
                raise CheckpointError(
                    f"config.json: {key} is {wanted[key]!r} in {first} and {value!r} in {label}. Only "
                    "models of one architecture can be merged."
                )


def _structure(config: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, dict) and len(where) < 100:  # the config of a tower
            yield from _structure(value, f"{where}{key}.")
        elif key in _STRUCTURE:
            yield where + key, value


def check_shapes(sources: Sequence[Source]) -> None:
    """Raise CheckpointError if a tensor that two models have is not of one shape, naming it, both shapes and models."""
    first, *others = sources
    for other in others:
        for name, entry in other.checkpoint.tensors.items():
            wanted = first.checkpoint.tensors.get(name)
            if wanted is None or wanted.shape == entry.shape:
                continue
            got, expected = entry.shape, wanted.shape
            if _OF_VOCABULARY.search(name) and len(got) == len(expected) == 2 and got[1] == expected[1]:
                raise CheckpointError(
                    f"{name}: different vocabularies: {expected[0]} tokens in {first.label}, {got[0]} in "
                    f"{other.label}. Bring the models to one vocabulary first."
                )
            raise CheckpointError(
                f"{name}: expected {list(expected)} as in {first.label}, got {list(got)} in {other.label}. Only "
                "models of one architecture can be merged."
            )


def check_vocabularies(sources: Sequence[Source]) -> None:
    """Raise CheckpointError naming the first token that two tokenizer.json do not share, where models have one."""
    files = [(one.label, one.companion("tokenizer.json")) for one in sources]
    files = [(label, path) for label, path in files if path.exists()]
    for label, path in files[1:]:
        first, wanted = files[0]
        if _bytes(path) == _bytes(wanted):
            continue
        ours, theirs = _tokens(wanted), _tokens(path)
        for number in sorted(ours.keys() | theirs.keys()):
            if ours.get(number) != theirs.get(number):
                raise CheckpointError(
                    f"tokenizer.json: token {number} is {_told(ours, number)} in {first} and "
                    f"{_told(theirs, number)} in {label}: their embeddings mean different things. Merge models of one "
                    "vocabulary, or give --any-vocabulary to go on."
                )


def _told(tokens: Mapping[int, str], number: int) -> str:
    return repr(tokens[number]) if number in tokens else "missing"


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise read_error(path, error) from None


def _tokens(path: Path) -> dict[int, str]:
    try:
        parsed = json.loads(_bytes(path))
        vocabulary = parsed["model"]["vocab"]
        if isinstance(vocabulary, dict):
            tokens = {int(number): str(token) for token, number in vocabulary.items()}
        else:
            tokens = {number: str(token) for number, (token, _) in enumerate(vocabulary)}
        added = parsed.get("added_tokens") or []
        return tokens | {int(one["id"]): str(one["content"]) for one in added}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise CheckpointError(f"{path}: not a tokenizer with a vocabulary. Fetch it again.") from None
