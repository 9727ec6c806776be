"""A transformers model without weights, into which parts of a checkpoint are loaded while they run."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Protocol

import torch
from torch import Tensor, nn

from ..checkpoint import Checkpoint
from .architecture import build_on_meta, materialise_buffers, own_tensors
from .sources import assemble, tensor_sources


class Reader(Protocol):
    """Where tensors come from."""

    def read(self, name: str) -> Tensor:
        """One tensor, dense, on the CPU."""


class LazyModel:
    """A model on the meta device whose parts hold weights only when told so.

    Raises CheckpointError if transformers does not know the architecture, or if it wants tensors that the checkpoint
    lacks.
    """

    def __init__(self, checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> None:
        self.checkpoint, self.device, self.dtype = checkpoint, device, dtype
        self.model = build_on_meta(checkpoint, dtype)
        self.sources = tensor_sources(self.model, checkpoint)
        materialise_buffers(self.model, device)
        self._keep = False
        self._by_turns: list[nn.Module] = []

    def tensor_name(self, module: nn.Module) -> str:
        """The checkpoint's name of a module's weight; of the first of several that make it up."""
        return self.sources[id(module), "weight"][0].name

    def stored_names(self, module: nn.Module) -> list[str]:
        """The checkpoint's names of all tensors of a module and of those inside it."""
        keys = [(id(each), key) for each in module.modules() for key, _ in own_tensors(each)]
        return [piece.name for key in keys for piece in self.sources[key]]

    def load_by_turns(self, modules: Iterable[nn.Module]) -> None:
        """Let some modules load their own tensors when their turn comes, and free them after it."""
        for module in modules:
            self._by_turns.append(module)
            module.register_forward_pre_hook(lambda module, _: self.load_own(module))
            module.register_forward_hook(lambda module, _, __: None if self._keep else self.free(module))

    @contextlib.contextmanager
    def outside_kept(self) -> Iterator[None]:
        """Keep what is loaded by turns until the end of the context: for many batches."""
        self._keep = True
        try:
            yield
        finally:
            self._keep = False
            for module in self._by_turns:
                self.free(module)

    def load_own(self, module: nn.Module, source: Reader | None = None) -> None:
        """Load a module's own tensors, if it has them not yet, from elsewhere than the checkpoint if a reader is given.

        Raises CheckpointError if one is of another shape than config.json says.
        """
        for key, tensor in own_tensors(module):
            if tensor.is_meta:
                loaded = assemble(self.sources[id(module), key], tensor.shape, (source or self.checkpoint).read)
                dtype = self.dtype if loaded.is_floating_point() else loaded.dtype
                _set_tensor(module, key, loaded.to(self.device, dtype))

    def free(self, module: nn.Module) -> None:
        """Give back a module's own tensors."""
        for key, tensor in own_tensors(module):
            _set_tensor(module, key, torch.empty_like(tensor, device="meta"))


def _set_tensor(module: nn.Module, key: str, tensor: Tensor) -> None:
    if key in module._parameters:
        module._parameters[key] = nn.Parameter(tensor, requires_grad=False)
    else:
        module._buffers[key] = tensor
