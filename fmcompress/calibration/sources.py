"""Which checkpoint tensors fill a model's: renamed, or several put together, as transformers does on loading."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..checkpoint import Checkpoint
from ..errors import CheckpointError
from .architecture import own_tensors


@dataclass(frozen=True)
class Piece:
    """A checkpoint tensor and the part of the model's tensor that it fills: all of it where `index` is ()."""

    name: str
    index: tuple[int | slice, ...] = ()


Source = tuple[Piece, ...]
Sources = dict[tuple[int, str], Source]  # (id of a module, its tensor's key) -> where it comes from


def tensor_sources(model: Any, checkpoint: Checkpoint) -> Sources:
    """Where every tensor of a model comes from. Tied tensors lead to the one that is stored.

    Raises CheckpointError, naming the first, if the checkpoint lacks some.
    """
    prefix = f"{model.base_model_prefix}." if model.base_model_prefix else ""
    stored = _stored(model, checkpoint)
    tied = {f"{key}": f"{value}" for key, value in (getattr(model, "all_tied_weights_keys", None) or {}).items()}
    sources: Sources = {}
    missing: list[str] = []
    for path, module in model.named_modules():
        for key, _ in own_tensors(module):
            full = f"{path}.{key}" if path else key
            names = [name for name in (full, tied.get(full)) if name]
            forms = [form for name in names for form in (name, name.removeprefix(prefix), prefix + name)]
            found = next((stored[form] for form in forms if form in stored), None)
            if found is None:
                missing.append(full)
            else:
                sources[id(module), key] = found
    if missing:
        raise CheckpointError(
            f"{checkpoint.folder}: unknown architecture: {type(model).__name__} wants {len(missing)} tensor(s) that "
            f"the checkpoint does not hold under that name, first {missing[0]!r}."
        )
    return sources


def assemble(source: Source, shape: torch.Size, read: Callable[[str], Tensor]) -> Tensor:
    """A model's tensor from the checkpoint's. Raises CheckpointError if they do not fill that shape."""
    if len(source) == 1 and not source[0].index:
        loaded = read(source[0].name)
        _check_shape(source[0].name, shape, loaded.shape)
        return loaded
    whole, filled = torch.empty(0), 0
    for piece in source:
        loaded = read(piece.name)
        whole = whole if filled else torch.empty(shape, dtype=loaded.dtype)
        try:
            part = whole[piece.index]
        except IndexError:
            part = whole[:0]
        _check_shape(piece.name, part.shape, loaded.shape)
        part.copy_(loaded)
        filled += part.numel()
    if filled != whole.numel():
        raise CheckpointError(f"{source[0].name}: it and its like fill {filled} of {whole.numel()} numbers.")
    return whole


def _check_shape(name: str, expected: torch.Size, got: torch.Size) -> None:
    if tuple(expected) != tuple(got):
        raise CheckpointError(f"{name}: expected shape {list(expected)} by config.json, got {list(got)}.")


def _stored(model: Any, checkpoint: Checkpoint) -> dict[str, Source]:
    """By the model's name of a tensor: what the checkpoint has for it."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import PrefixChange, WeightConverter, WeightRenaming

    rules = get_model_conversion_mapping(model)
    renamings = [rule for rule in rules if type(rule) in (WeightRenaming, PrefixChange)]
    converters = [rule for rule in rules if type(rule) is WeightConverter]
    found: dict[str, Source] = {name: (Piece(name),) for name in checkpoint.tensors}
    merged: dict[str, tuple[Any, dict[str, list[str]]]] = {}
    for name in sorted(checkpoint.tensors, key=_by_number):
        renamed = name
        for rule in renamings:
            renamed = rule.rename_source_key(renamed)[0]
        found.setdefault(renamed, (Piece(name),))
        for converter in converters:
            target, pattern = converter.rename_source_key(renamed)
            if pattern is not None:
                merged.setdefault(target, (converter, {}))[1].setdefault(pattern, []).append(name)
                break
    for target, (converter, names) in merged.items():
        source = _pieces(converter, names, checkpoint)
        if source:
            found.setdefault(target, source)
    return found


def _by_number(name: str) -> list[tuple[int, str]]:
    """Expert 10 comes after expert 9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _pieces(converter: Any, names: Mapping[str, list[str]], checkpoint: Checkpoint) -> Source:
    """What stacking and concatenating make of the tensors of each pattern; () where transformers does more to them."""
    from transformers.core_model_loading import Concatenate, MergeModulelist

    stacks = type(converter.operations[0]) is MergeModulelist and converter.operations[0].dim == 0
    rest = converter.operations[stacks:]
    known = len(rest) <= 1 and all(type(operation) is Concatenate for operation in rest)
    if not known or len(converter.target_patterns) > 1:
        return ()
    axis = rest[0].dim if rest else None
    if (axis is None and len(names) > 1) or (stacks and axis == 0):
        return ()
    pieces: list[Piece] = []
    begin = 0
    for pattern in converter.source_patterns:
        for number, name in enumerate(names.get(pattern, [])):
            stacked: tuple[int | slice, ...] = (number,) if stacks else ()
            if axis is None:
                pieces.append(Piece(name, stacked))
                continue
            shape, along = checkpoint.tensors[name].shape, axis - stacks
            if along >= len(shape):
                return ()
            if stacks and number:  # the others of a pattern lie beside the first
                pieces.append(Piece(name, (number, *pieces[-1].index[1:])))
                continue
            end = begin + shape[along]
            pieces.append(Piece(name, (*stacked, *[slice(None)] * along, slice(begin, end))))
            begin = end
    return tuple(pieces)
