"""A transformers language model of which only the part that runs holds weights."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..checkpoint import Checkpoint
from ..errors import CheckpointError, in_one_line
from .architecture import build_on_meta, find_blocks, materialise_buffers, own_tensors, tensor_names

Call = tuple[tuple[Any, ...], dict[str, Any]]


class Reader(Protocol):
    """Where tensors come from."""

    def read(self, name: str) -> Tensor:
        """One tensor, dense, on the CPU."""


@dataclass
class Batch:
    """Sequences that run through the model together.

    hidden  [sequences, length, width] what the next block is given; replaced block by block
    calls   per block: the other positional and the keyword arguments that the model itself passes to it
    real    [sequences, length] bool, False at padding; None where there is none
    dense   [sequences, length, width] what the dense model gives the next block, where `hidden` is a changed one's;
            None if nobody asks
    """

    hidden: Tensor
    calls: list[Call] = field(repr=False)
    real: Tensor | None = None
    dense: Tensor | None = None


class _Stop(Exception):
    """Ends a forward pass whose rest is not needed."""


class StreamedModel:
    """A causal language model on the meta device, into which parts of a checkpoint are loaded while they run.

    blocks  (name, module) of the repeated blocks, in order

    The model's own forward runs everything outside of the blocks, so that masks, rotary tables, scalings and the
    output layer are never rebuilt here. Raises CheckpointError if transformers does not know the architecture, or
    if it wants tensors that the checkpoint lacks.
    """

    def __init__(self, checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> None:
        self.checkpoint, self.device, self.dtype = checkpoint, device, dtype
        self.model = build_on_meta(checkpoint, dtype)
        self._sources = tensor_names(self.model, checkpoint)
        self.blocks = find_blocks(self.model, checkpoint)
        materialise_buffers(self.model, device)
        self._tuples = False  # whether blocks return (hidden, ...); found out when the model runs
        self._keep_outside = False
        inside = {id(module) for _, block in self.blocks for module in block.modules()}
        self._outside = [m for m in self.model.modules() if id(m) not in inside and own_tensors(m)]
        for module in self._outside:
            # what lies outside of the blocks is loaded when its turn comes and freed after it
            module.register_forward_pre_hook(lambda module, _: self._load_outside(module))
            module.register_forward_hook(lambda module, _, __: self._free_outside(module))

    @contextlib.contextmanager
    def loaded(self, index: int, source: Reader | None = None) -> Iterator[nn.Module]:
        """The block with its weights, from elsewhere than the checkpoint if a reader is given; freed at the end."""
        block = self.blocks[index][1]
        self._load(block, recurse=True, source=source)
        try:
            yield block
        finally:
            self._free(block, recurse=True)

    @contextlib.contextmanager
    def outside_kept(self) -> Iterator[None]:
        """Keep what lies outside of the blocks once it is loaded, until the end of the context: for many batches."""
        self._keep_outside = True
        try:
            yield
        finally:
            self._keep_outside = False
            for module in self._outside:
                self._free(module, recurse=False)

    def tensor_name(self, module: nn.Module) -> str:
        """The checkpoint's name of a module's weight."""
        return self._sources[id(module), "weight"]

    def embed(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Batch:
        """Run the model up to its first block, and learn what it passes to every block.

        input_ids       [sequences, length] int64
        attention_mask  [sequences, length], 0 at padding; None if there is none
        """
        reason = ""
        for tuples in (self._tuples, not self._tuples):
            self._tuples = tuples
            try:
                hidden, calls = self._record_calls(input_ids, attention_mask)
            except (ValueError, TypeError, AttributeError, IndexError) as error:
                # the model's forward wants more of a block than the hidden states
                reason = f" ({in_one_line(error)})"
                continue
            if len(calls) == len(self.blocks) and all(each is hidden[0] for each in hidden):
                return Batch(hidden[0], calls, None if attention_mask is None else attention_mask.bool())
        raise CheckpointError(
            f"{self.checkpoint.folder}: unknown architecture: {type(self.model).__name__} does not pass hidden "
            f"states from block to block as a tensor{reason}."
        )

    def _record_calls(self, input_ids: Tensor, attention_mask: Tensor | None) -> tuple[list[Tensor], list[Call]]:
        """What the model's own forward gives to each block, where a block only hands on its hidden states."""
        calls: list[Call] = []
        hidden: list[Tensor] = []

        def record(index: int, given: Tensor, *args: Any, **kwargs: Any) -> Any:
            hidden.append(given)
            calls.append((args, kwargs))
            if index == len(self.blocks) - 1:
                raise _Stop
            return self._as_output(given)

        with self._blocks_replaced(record), contextlib.suppress(_Stop):
            self._forward(input_ids, attention_mask)
        return hidden, calls

    def _as_output(self, hidden: Tensor) -> Any:
        return (hidden,) if self._tuples else hidden

    def run_block(self, index: int, block: Callable[..., Any], batch: Batch, hidden: Tensor | None = None) -> Tensor:
        """The output of a loaded block on a batch, or on other hidden states of its shape; neither changes."""
        args, kwargs = batch.calls[index]
        output = block((batch.hidden if hidden is None else hidden).to(self.device), *args, **kwargs)
        self._tuples = isinstance(output, tuple)
        return output[0] if self._tuples else output

    def logits(self, input_ids: Tensor, final_hidden: Tensor) -> Tensor:
        """Run what follows the last block: final_hidden [sequences, length, width] -> [sequences, length, vocab]."""
        last = len(self.blocks) - 1

        def replay(index: int, given: Tensor, *args: Any, **kwargs: Any) -> Any:
            return self._as_output(final_hidden.to(self.device) if index == last else given)

        with self._blocks_replaced(replay):
            return self._forward(input_ids, None).logits  # type: ignore[no-any-return]

    def _forward(self, input_ids: Tensor, attention_mask: Tensor | None) -> Any:
        mask = None if attention_mask is None else attention_mask.to(self.device)
        self._load_outside(self.model.get_input_embeddings())  # some models send the ids to where its weight is
        with torch.no_grad():
            return self.model(input_ids=input_ids.to(self.device), attention_mask=mask, use_cache=False)

    @contextlib.contextmanager
    def _blocks_replaced(self, run: Any) -> Iterator[None]:
        """While the model's own forward runs, `run(index, hidden, *args, **kwargs)` stands in for each block."""
        for index, (_, block) in enumerate(self.blocks):
            # an attribute of the instance: the model may still read the block's other attributes
            block.forward = _stand_in(run, index)
        try:
            yield
        finally:
            for _, block in self.blocks:
                del block.forward

    def _load_outside(self, module: nn.Module) -> None:
        if any(tensor.is_meta for _, tensor in own_tensors(module)):
            self._load(module, recurse=False)

    def _free_outside(self, module: nn.Module) -> None:
        if not self._keep_outside:
            self._free(module, recurse=False)

    def _load(self, module: nn.Module, recurse: bool, source: Reader | None = None) -> None:
        for part in module.modules() if recurse else [module]:
            for key, tensor in own_tensors(part):
                loaded = (source or self.checkpoint).read(self._sources[id(part), key])
                if tuple(loaded.shape) != tuple(tensor.shape):
                    raise CheckpointError(
                        f"{self._sources[id(part), key]}: expected shape {list(tensor.shape)} by config.json, "
                        f"got {list(loaded.shape)}."
                    )
                dtype = self.dtype if loaded.is_floating_point() else loaded.dtype
                _set_tensor(part, key, loaded.to(self.device, dtype))

    def _free(self, module: nn.Module, recurse: bool) -> None:
        for part in module.modules() if recurse else [module]:
            for key, tensor in own_tensors(part):
                _set_tensor(part, key, torch.empty_like(tensor, device="meta"))


def _stand_in(run: Any, index: int) -> Any:
    def forward(*args: Any, **kwargs: Any) -> Any:
        hidden, rest = (args[0], args[1:]) if args else (kwargs.pop("hidden_states"), ())
        return run(index, hidden, *rest, **kwargs)

    return forward


def _set_tensor(module: nn.Module, key: str, tensor: Tensor) -> None:
    if key in module._parameters:
        module._parameters[key] = nn.Parameter(tensor, requires_grad=False)
    else:
        module._buffers[key] = tensor
