"""What runs through a model together, and what the model itself passes to each of its blocks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

BATCH_TOKENS = 4096  # sequences run together up to this many tokens
Call = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class Handed:
    """Stands in a recorded call for what an earlier block hands on beside its hidden states: the item `position`."""

    block: int
    position: int


@dataclass
class Batch:
    """Sequences or images that run through the model together.

    hidden  [sequences, length, width] what the next block is given; replaced block by block
    calls   per block of the stack that runs: the other positional and the keyword arguments that the model passes to it
    real    [sequences, length] bool, False at padding; None where there is none
    inputs  what the model was given: [sequences, length] token ids, or [images, channels, height, width] pixels, or
            several such by the names of its forward
    mask    the attention mask that came with it
    finals  by number of an earlier stack: the hidden states that its last block gave
    handed  what the blocks of the stack handed on so far, where a later one is given it
    like    an earlier batch of the same shape; what is equal to its own is kept once
    """

    hidden: Tensor
    calls: dict[int, Call] = field(repr=False)
    real: Tensor | None
    inputs: Tensor | Mapping[str, Tensor]
    mask: Tensor | None = None
    finals: dict[int, Tensor] = field(default_factory=dict, repr=False)
    handed: dict[Handed, Any] = field(default_factory=dict, repr=False)
    like: "Batch | None" = field(default=None, repr=False)

    def call(self, index: int) -> Call:
        """The arguments of a block, with what earlier blocks handed on."""
        return _map(lambda value: self.handed[value] if isinstance(value, Handed) else value, self.calls[index])

    def hand_on(self, index: int, extras: Sequence[Any]) -> None:
        """Keep what a block returned beside its hidden states, as far as a later block is given it."""
        wanted = {handed for call in self.calls.values() for handed in _handed_in(call)}
        for position, value in enumerate(extras):
            key = Handed(index, position)
            if key in wanted:
                self.handed[key] = _kept_once(value, None if self.like is None else self.like.handed.get(key))


def share_equal(batches: Sequence[Batch]) -> None:
    """Keep masks and tables once that are equal in batches of one shape, as they are without padding."""
    for batch in batches[1:]:
        if batch.hidden.shape == batches[0].hidden.shape and batch.calls.keys() == batches[0].calls.keys():
            batch.like, seen = batches[0], dict[int, Any]()
            for index, call in batch.calls.items():
                batch.calls[index] = _shared(call, batches[0].calls[index], seen)


def _shared(value: Any, other: Any, seen: dict[int, Any]) -> Any:
    """The parts of `value` that `other` holds, too, taken from there. `seen` saves comparing a tensor twice."""
    if isinstance(value, Tensor):
        if id(value) not in seen:
            seen[id(value)] = _kept_once(value, other)
        return seen[id(value)]
    if type(value) in (tuple, list) and type(other) is type(value) and len(other) == len(value):
        return type(value)(_shared(one, two, seen) for one, two in zip(value, other, strict=True))
    if type(value) is dict and type(other) is dict:
        return {key: _shared(item, other.get(key), seen) for key, item in value.items()}
    return value


def _kept_once(value: Any, other: Any) -> Any:
    if not (isinstance(value, Tensor) and isinstance(other, Tensor)):
        return value
    same = value.shape == other.shape and value.dtype == other.dtype and value.device == other.device
    return other if same and torch.equal(value, other) else value


def _handed_in(call: Call) -> list[Handed]:
    found: list[Handed] = []
    _map(lambda value: found.append(value) if isinstance(value, Handed) else None, call)
    return found


def _map(function: Any, call: Call) -> Call:
    args, kwargs = tree_map(function, call)
    return args, kwargs
