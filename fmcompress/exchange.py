"""What the ranks of a run exchange: sums of Hessians, solved layers, and the weights of finished blocks."""

from collections.abc import Collection
from dataclasses import asdict
from typing import Any, Protocol

import torch
from torch import Tensor

from .calibration import TILE_COLS, Group
from .errors import CommunicationError
from .layerwise import Grid, LayerResult, QuantizedWeight
from .ranks import Ranks

Solved = tuple[dict[str, Any], LayerResult]


class Reader(Protocol):
    """Where tensors come from."""

    def read(self, name: str) -> Tensor:
        """One tensor, dense, on the CPU."""


class SharedReader:
    """Reads on the writer for all ranks, which must ask for the same tensors in the same order.

    source  None on the other ranks, which need not see the disk
    """

    def __init__(self, ranks: Ranks, source: Reader | None) -> None:
        self.ranks, self.source = ranks, source

    def read(self, name: str) -> Tensor:
        """One tensor, dense, on the CPU."""
        return self.ranks.share(tensors=[] if self.source is None else [self.source.read(name)])[1][0]


class PartlySolved:
    """The checkpoint's tensors, but for some that an earlier block has solved.

    solved  their names
    output  where they are
    """

    def __init__(self, source: Reader, solved: Collection[str], output: Reader) -> None:
        self.source, self.solved, self.output = source, solved, output

    def read(self, name: str) -> Tensor:
        """One tensor, dense, on the CPU."""
        return (self.output if name in self.solved else self.source).read(name)


def sum_groups(ranks: Ranks, groups: list[Group], device: torch.device) -> list[Group]:
    """Sums of what each rank has gathered, not yet finished; changes the Hessians given.

    A rank may have seen no token of some layer, or none at all. Groups are in the order in which one process alone,
    with all the tokens, would have met them.

    Raises CommunicationError if ranks disagree on which layers read the same tensor.
    """
    if ranks.count == 1:
        return groups
    merged = _merged(ranks.gather([[group.layers, len(group.hessian)] for group in groups]))
    own = {name: group for group in groups for name in group.layers}
    total = [_sum_of(layers, cols, own, device) for layers, cols in merged]
    counts = [[float(group.tokens), *(group.energy[name] for name in group.layers)] for group in total]
    sums = ranks.sum_(torch.tensor([value for some in counts for value in some], dtype=torch.float64)).tolist()
    for group in total:
        group.tokens = int(sums.pop(0))
        group.energy = {name: sums.pop(0) for name in group.layers}
        for begin in range(0, len(group.hessian), TILE_COLS):  # the upper triangle: half of the bytes
            tile = group.hessian[begin : begin + TILE_COLS, begin:]
            tile.copy_(ranks.sum_(tile.contiguous()))
    return total


def _merged(seen: list[list[tuple[list[str], int]]]) -> list[tuple[list[str], int]]:
    """Layers and columns of each group that any of the ranks saw, by first sight."""
    merged: list[tuple[list[str], int]] = []
    place: dict[str, int] = {}
    for names, cols in (group for groups in seen for group in groups):
        known = {place[name] for name in names if name in place}
        if len(known) > 1:
            raise CommunicationError(f"{names[0]}: ranks disagree on which layers read the same tensor. Report this.")
        at = known.pop() if known else len(merged)
        if at == len(merged):
            merged.append(([], cols))
        merged[at][0].extend(name for name in names if name not in place)
        place.update(dict.fromkeys(names, at))
    return merged


def _sum_of(layers: list[str], cols: int, own: dict[str, Group], device: torch.device) -> Group:
    """This rank's summand of a group: zeros where it saw no token."""
    group = next((own[name] for name in layers if name in own), None)
    if group is None:
        return Group(layers, torch.zeros(cols, cols, device=device), 0, dict.fromkeys(layers, 0.0))
    return Group(layers, group.hessian, group.tokens, {name: group.energy.get(name, 0.0) for name in layers})


def share_solved(ranks: Ranks, owner: int, solved: Solved | None, device: torch.device) -> Solved:
    """A layer's record and result from the rank that solved it, on all of them; None on the others."""
    if solved is None:
        described, tensors = ranks.share(owner=owner, device=device)
    else:
        record, result = solved
        described, tensors = ranks.share(*_as_message(record, result), owner=owner, device=device)
        return solved
    quantized, weight = None, tensors[0]
    if described["grid"] is not None:
        quantized = QuantizedWeight(Grid(**described["grid"]), *tensors[1:])
    return described["record"], LayerResult(weight, **described["result"], quantized=quantized)


def _as_message(record: dict[str, Any], result: LayerResult) -> tuple[dict[str, Any], list[Tensor]]:
    names = ("loss", "relative_error", "zeros", "damping", "dead_columns", "seconds")
    described = {"record": record, "result": {name: getattr(result, name) for name in names}, "grid": None}
    if result.quantized is None:
        return described, [result.weight]
    quantized = result.quantized
    described["grid"] = asdict(quantized.grid)
    return described, [result.weight, quantized.codes, quantized.scale, quantized.zero]
