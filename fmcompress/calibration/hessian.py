"""Hessians of the layers of one block, gathered while it runs; layers fed by one tensor share one."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import CalibrationError
from .experts import ExpertWeight, WatchExperts
from .places import Place

TILE_COLS = 1024


def accumulate_hessian_(hessian: Tensor, inputs: Tensor) -> Tensor:
    """hessian += inputs^T inputs, upper triangle only, tile row by tile row: half of a full product for wide layers.

    hessian  [cols, cols] float32 or float64, changed in place; its lower triangle means nothing until symmetrised
    inputs   [tokens, cols] any float dtype
    """
    inputs = inputs.to(hessian.dtype)
    for begin in range(0, len(hessian), TILE_COLS):
        rows = slice(begin, begin + TILE_COLS)
        hessian[rows, begin:].addmm_(inputs[:, rows].T, inputs[:, begin:])
    return hessian


def symmetrise_(hessian: Tensor) -> Tensor:
    """Copy the upper triangle over the lower one, tile row by tile row."""
    for begin in range(0, len(hessian), TILE_COLS):
        rows = slice(begin, begin + TILE_COLS)
        tile = hessian[rows, rows]
        tile.copy_(tile.triu() + tile.triu(1).T)
        hessian[begin + TILE_COLS :, rows] = hessian[rows, begin + TILE_COLS :].T
    return hessian


@dataclass
class Group:
    """Linear layers that are fed by the same tensor.

    layers   names within the block
    hessian  [cols, cols] float32, sum of x x^T over the tokens seen
    tokens   how many tokens were seen, padding not counted
    energy   per layer: sum of |W x|^2 over the tokens, which is tr(W H W^T) without another product
    """

    layers: list[str]
    hessian: Tensor
    tokens: int = 0
    energy: dict[str, float] = field(default_factory=dict)

    def finish(self, where: str) -> None:
        """Symmetrise, and divide sums by the number of tokens. Raises CalibrationError if anything is not finite."""
        symmetrise_(self.hessian).div_(max(1, self.tokens))
        self.energy = {name: value / max(1, self.tokens) for name, value in self.energy.items()}
        if not torch.isfinite(self.hessian.diagonal()).all():
            raise CalibrationError(f"{where}.{self.layers[0]}: its input holds inf or NaN. Try --dtype float32.")


class HessianCollector:
    """While attached to a block, gathers the Hessians of the wanted layers, grouped by the tensor they read.

    places  name of a layer -> where its weight lies; the weights must be loaded
    """

    def __init__(self, places: Mapping[str, Place]) -> None:
        self.real: Tensor | None = None  # [sequences, length] bool of the batch that runs now; None without padding
        self._group_of: dict[str, Group] = {}
        self._inputs: dict[tuple[int, ...], tuple[Tensor, Group]] = {}
        self._handles: list[Any] = []
        experts: list[ExpertWeight] = []
        for module, key, expert, rows in _by_matrix(places):
            see = partial(self._see, rows)
            if expert is None:
                self._handles.append(module.register_forward_hook(partial(_without_bias, see)))
            else:
                experts.append(ExpertWeight(module.get_parameter(key), expert, see))
        self._watch = WatchExperts(experts) if experts else None
        if self._watch is not None:
            self._watch.__enter__()

    def groups(self) -> Iterator[Group]:
        """The groups in the order in which the block runs them."""
        seen: set[int] = set()
        for group in self._group_of.values():
            if id(group) not in seen:
                seen.add(id(group))
                yield group

    def next_batch(self, real: Tensor | None) -> None:
        """Forget the tensors of the batch before; `real` is False at the padding of the next."""
        self.real = real
        self._inputs.clear()

    def detach(self) -> None:
        """Look no longer."""
        for handle in self._handles:
            handle.remove()
        if self._watch is not None:
            self._watch.__exit__(None, None, None)
        self._handles, self._watch = [], None
        self._inputs.clear()

    def _see(self, layers: dict[str, slice], inputs: Tensor, output: Tensor) -> None:
        """A matrix met its inputs [..., cols]; its output [..., rows] holds no bias. `layers` are the rows of each."""
        if inputs.numel() == 0:  # an expert that no token chose: all empty tensors have one address
            return
        key = (inputs.data_ptr(), inputs._version, *inputs.shape, *inputs.stride())
        if key not in self._inputs:
            # the input is kept until the next batch, so that no other tensor can take its address meanwhile
            self._inputs[key] = (inputs, self._start(next(iter(layers)), inputs))
            group = self._inputs[key][1]
            rows = self._rows(inputs)
            accumulate_hessian_(group.hessian, rows)
            group.tokens += len(rows)
        group = self._inputs[key][1]
        for name, rows_of_it in layers.items():
            if name not in self._group_of:
                group.layers.append(name)
                self._group_of[name] = group
            outputs = self._rows(output[..., rows_of_it])
            energy = float(torch.linalg.vector_norm(outputs.float(), dim=1).double().square().sum())
            group.energy[name] = group.energy.get(name, 0.0) + energy

    def _start(self, name: str, inputs: Tensor) -> Group:
        if name in self._group_of:
            return self._group_of[name]
        cols = inputs.shape[-1]
        return Group([], torch.zeros(cols, cols, dtype=torch.float32, device=inputs.device))

    def _rows(self, tensor: Tensor) -> Tensor:
        """[tokens, width], without padding."""
        if self.real is None or tensor.shape[:2] != self.real.shape:
            return tensor.reshape(-1, tensor.shape[-1])
        return tensor[self.real.to(tensor.device)]


def _by_matrix(places: Mapping[str, Place]) -> list[tuple[nn.Module, str, int | None, dict[str, slice]]]:
    """Per product that the block computes: module, key, expert, and the rows of each layer in it."""
    found: dict[tuple[int, str, int | None], tuple[nn.Module, str, int | None, dict[str, slice]]] = {}
    for name, place in places.items():
        matrix = (place.module, place.key, place.expert, dict[str, slice]())
        found.setdefault((id(place.module), place.key, place.expert), matrix)[3][name] = place.rows
    return list(found.values())


def _without_bias(see: Any, module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
    bias = module._parameters.get("bias")
    see(args[0], output if bias is None else output - bias)
