"""Hessians of the layers of one block, gathered while it runs; layers fed by one tensor share one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import CalibrationError
from .accumulate import HALVES, accumulate_hessian_, symmetrise_
from .experts import ExpertWeight, WatchExperts
from .places import Place


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


def finish_groups(groups: Sequence[Group], where: str) -> None:
    """Symmetrise their Hessians, and divide sums by the number of tokens.

    where  the block, for messages
    Raises CalibrationError if anything is not finite.
    """
    for group in groups:
        symmetrise_(group.hessian).div_(max(1, group.tokens))
        group.energy = {name: value / max(1, group.tokens) for name, value in group.energy.items()}
    looked = [torch.isfinite(group.hessian.diagonal()).all() for group in groups]
    for group, finite in zip(groups, torch.stack(looked).tolist() if looked else [], strict=True):  # one transfer
        if not finite:
            raise CalibrationError(f"{where}.{group.layers[0]}: its input holds inf or NaN. Try --dtype float32.")


class HessianCollector:
    """While attached to a block, gathers the Hessians of the wanted layers, grouped by the tensor they read.

    places  name of a layer -> where its weight lies; the weights must be loaded
    """

    def __init__(self, places: Mapping[str, Place]) -> None:
        self._real: Tensor | None = None  # [sequences, length] bool of the batch that runs now; None without padding
        self._kept: Tensor | None = None  # the places of its tokens that are real, where the block runs
        self._group_of: dict[str, Group] = {}
        self._energy: dict[str, Tensor] = {}  # see Group.energy: on the device, so that nothing waits for it
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
        if self._energy:  # one transfer for all
            sums = torch.stack(list(self._energy.values())).tolist()
            for name, energy in zip(self._energy, sums, strict=True):
                self._group_of[name].energy[name] = energy
        seen: set[int] = set()
        for group in self._group_of.values():
            if id(group) not in seen:
                seen.add(id(group))
                yield group

    def next_batch(self, real: Tensor | None) -> None:
        """Forget the tensors of the batch before; `real` is False at the padding of the next."""
        self._real, self._kept = real, None
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
            wide = outputs if outputs.dtype in HALVES else outputs.float()
            energy = torch.linalg.vector_norm(wide, dim=1, dtype=torch.float32).double().square().sum()
            self._energy[name] = self._energy[name] + energy if name in self._energy else energy

    def _start(self, name: str, inputs: Tensor) -> Group:
        if name in self._group_of:
            return self._group_of[name]
        cols = inputs.shape[-1]
        return Group([], torch.zeros(cols, cols, dtype=torch.float32, device=inputs.device))

    def _rows(self, tensor: Tensor) -> Tensor:
        """[tokens, width], without padding."""
        flat = tensor.reshape(-1, tensor.shape[-1])
        if self._real is None or tensor.shape[:2] != self._real.shape:
            return flat
        if self._kept is None:  # once a batch, since how many there are must be waited for
            self._kept = self._real.flatten().nonzero().squeeze(1).to(tensor.device)
        return flat[self._kept]


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
