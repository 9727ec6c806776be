"""A transformers model of which only the part that runs holds weights."""

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..checkpoint import Checkpoint, ReadAhead
from ..errors import CheckpointError, in_one_line
from .architecture import find_stacks, is_causal_lm, own_tensors
from .batch import Batch, Call, Handed
from .lazy_model import LazyModel, Reader
from .places import Place, places, transposed_experts
from .settings import keep_no_past, run_experts_one_by_one, shifted

INPUTS = {"text": "input_ids", "images": "pixel_values"}
FORMS = (None, 0, 1, 2)  # what blocks return: the hidden states, or a tuple of them and so many other things


class _Stop(Exception):
    """Ends a forward pass whose rest is not needed."""


class StreamedModel(LazyModel):
    """A model on the meta device, into which parts of a checkpoint are loaded while they run.

    blocks  (name, module) of the repeated blocks of all stacks, in order
    stacks  what they belong to: one, an encoder and a decoder, or a tower each

    pairs   whether the whole model is to run all stacks, from images or videos with a text each

    The model's own forward runs everything outside of the blocks, so that masks, rotary tables, scalings and the
    output layer are never rebuilt here. Raises CheckpointError if transformers does not know the architecture, or
    if it wants tensors that the checkpoint lacks.
    """

    def __init__(
        self, checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype, *, pairs: bool = False
    ) -> None:
        super().__init__(checkpoint, device, dtype)
        run_experts_one_by_one(self.model)
        keep_no_past(self.model)
        self.stacks = find_stacks(self.model, checkpoint, pairs=pairs)
        self.blocks = [block for stack in self.stacks for block in stack.blocks]
        self._stack_of = [number for number, stack in enumerate(self.stacks) for _ in stack.blocks]
        self._ahead = ReadAhead(checkpoint)
        self._forms: dict[int, int | None] = {}  # of each stack, one of FORMS; found out when the model runs
        inside = {id(module) for _, block in self.blocks for module in block.modules()}
        self.load_by_turns(m for m in self.model.modules() if id(m) not in inside and own_tensors(m))

    @property
    def text_blocks(self) -> range:
        """The indices of the blocks of a language model. Raises CheckpointError if it predicts no next token."""
        if not is_causal_lm(self.model):
            raise CheckpointError(
                f"{self.checkpoint.folder}: {type(self.model).__name__} predicts no next token, and so has no "
                "perplexity. Give a causal language model."
            )
        first = self.first_of(self._text_stack)
        return range(first, first + len(self.stacks[self._text_stack].blocks))

    @property
    def _text_stack(self) -> int:
        return next((number for number, stack in enumerate(self.stacks) if stack.kind == "text"), 0)

    def stack_at(self, index: int) -> int:
        """The number of the stack of a block."""
        return self._stack_of[index]

    def first_of(self, stack: int) -> int:
        """The index of a stack's first block."""
        return self._stack_of.index(stack)

    def follows(self, stack: int) -> bool:
        """Whether the model runs another stack before this one."""
        return stack > 0 and self.stacks[stack - 1].path == self.stacks[stack].path

    def weights_of(self, index: int) -> int:
        """How many weights a block has."""
        return sum(parameter.numel() for parameter in self.blocks[index][1].parameters())

    @contextlib.contextmanager
    def experts_skipped(self, index: int) -> Iterator[None]:
        """While a block runs on the meta device, where no token chooses any, its experts return what they are given."""
        skipped = [m for m in self.blocks[index][1].modules() if transposed_experts(m) is not None]
        for module in skipped:
            module.forward = lambda hidden, *_, **__: hidden  # type: ignore[assignment]
        try:
            yield
        finally:
            for module in skipped:
                del module.forward

    def places(self, index: int) -> Iterator[tuple[str, str, Place]]:
        """The weights of a block that can be solved: (name within it, name in the checkpoint, place)."""
        return places(self.blocks[index][1], self.sources)

    @contextlib.contextmanager
    def loaded(self, index: int, source: Reader | None = None) -> Iterator[nn.Module]:
        """The block with its weights, from elsewhere than the checkpoint if a reader is given; freed at the end."""
        block = self.blocks[index][1]
        for module in block.modules():
            self.load_own(module, source or self._ahead)
        if self.device.type == "cuda" and source is None and index + 1 < len(self.blocks):  # while the GPU computes
            self._ahead.announce(self.stored_names(self.blocks[index + 1][1]))
        try:
            yield block
        except BaseException:
            self._ahead.announce([])  # or Ctrl-C would wait until all of the next block has been read
            raise
        finally:
            for module in block.modules():
                self.free(module)

    def embed(
        self, inputs: Tensor | Mapping[str, Tensor], attention_mask: Tensor | None = None, stack: int | None = None
    ) -> Batch:
        """Run the model up to the first block of a stack, and learn what it passes to every block of that.

        inputs          [sequences, length] int64 token ids, or pixels [images, channels, height, width]; of pairs both,
                        by the names that the model's forward has for them
        attention_mask  [sequences, length], 0 at padding; None if there is none
        stack           by default the first that reads text; see go_on for one that another runs before
        """
        mask = None if attention_mask is None else attention_mask.bool()
        first = self._text_stack if stack is None else stack
        return self._begin(first, Batch(torch.empty(0), {}, mask, inputs, attention_mask))

    def go_on(self, stack: int, batch: Batch) -> Batch:
        """Run the model up to the next stack, for a batch that all blocks of the one before have run."""
        finals = {**batch.finals, stack - 1: batch.hidden}
        return self._begin(stack, Batch(torch.empty(0), {}, batch.real, batch.inputs, batch.mask, finals))

    def _begin(self, stack: int, batch: Batch) -> Batch:
        reason = ""
        known = [self._forms[stack]] if stack in self._forms else []
        for form in dict.fromkeys([*known, *FORMS]):
            self._forms[stack] = form
            try:
                hidden, batch.calls = self._record_calls(stack, batch)
            except torch.OutOfMemoryError:
                raise
            except (ValueError, TypeError, AttributeError, IndexError, RuntimeError) as error:
                # the model's forward wants more of a block than the hidden states
                reason = f" ({in_one_line(error)})"
                continue
            if len(batch.calls) == len(self.stacks[stack].blocks) and all(each is hidden[0] for each in hidden):
                batch.hidden = hidden[0]
                return batch
        raise CheckpointError(
            f"{self.checkpoint.folder}: unknown architecture: {type(self.model).__name__} does not pass hidden "
            f"states from block to block as a tensor{reason}."
        )

    def _record_calls(self, stack: int, batch: Batch) -> tuple[list[Tensor], dict[int, Call]]:
        """What the model's own forward gives to each block, where a block only hands on its hidden states."""
        calls: dict[int, Call] = {}
        hidden: list[Tensor] = []
        last = self.first_of(stack) + len(self.stacks[stack].blocks) - 1

        def record(index: int, given: Tensor, *args: Any, **kwargs: Any) -> Any:
            if self.stack_at(index) != stack:
                self._require_order(stack, index)
                return self._final(index, given, batch.finals.get(self.stack_at(index)))
            hidden.append(given)
            calls[index] = (args, kwargs)
            if index == last:
                raise _Stop
            return self._as_output(index, given)

        with self._blocks_replaced(record), contextlib.suppress(_Stop):
            self._forward(self.stacks[stack].runner, self.stacks[stack].kind, batch.inputs, batch.mask)
        return hidden, calls

    def _require_order(self, stack: int, index: int) -> None:
        """Raise CheckpointError where a stack would be given what one gives that is solved after it."""
        later = self.stacks[self.stack_at(index)]
        if self.stack_at(index) > stack and later.looks:
            raise CheckpointError(
                f"{self.checkpoint.folder}: unknown architecture: {type(self.model).__name__} runs "
                f"{later.blocks[0][0]} before {self.stacks[stack].blocks[0][0]}."
            )

    def _final(self, index: int, given: Tensor, final: Tensor | None) -> Any:
        """What a block returns that has run: only the last one's output matters."""
        last = index + 1 == len(self.blocks) or self.stack_at(index + 1) != self.stack_at(index)
        return self._as_output(index, final.to(self.device) if last and final is not None else given)

    def _as_output(self, index: int, hidden: Tensor) -> Any:
        form = self._forms.get(self.stack_at(index))
        return hidden if form is None else (hidden, *(Handed(index, position) for position in range(form)))

    def run_block(self, index: int, block: Callable[..., Any], batch: Batch) -> Tensor:
        """The output of a loaded block on a batch, whose hidden states stay as they are."""
        args, kwargs = batch.call(index)
        output = block(batch.hidden if batch.hidden.is_meta else batch.hidden.to(self.device), *args, **kwargs)
        if not isinstance(output, tuple):
            self._forms[self.stack_at(index)] = None
            return output  # type: ignore[no-any-return]
        self._forms[self.stack_at(index)] = len(output) - 1
        batch.hand_on(index, output[1:])
        return output[0]  # type: ignore[no-any-return]

    def logits(self, input_ids: Tensor, final_hidden: Tensor) -> Tensor:
        """Run what follows the last block: final_hidden [sequences, length, width] -> [sequences, length, vocab]."""

        def replay(index: int, given: Tensor, *args: Any, **kwargs: Any) -> Any:
            return self._final(index, given, final_hidden)

        with self._blocks_replaced(replay):
            return self._forward(self.model, "text", input_ids, None).logits  # type: ignore[no-any-return]

    def _forward(self, runner: Any, kind: str, inputs: Tensor | Mapping[str, Tensor], mask: Tensor | None) -> Any:
        with contextlib.suppress(NotImplementedError):  # of a model of two towers as a whole
            self.load_own(runner.get_input_embeddings())  # some models send the ids to where its weight is
        named = {INPUTS[kind]: inputs} if isinstance(inputs, Tensor) else inputs
        given: dict[str, Any] = {
            name: tensor.to(self.device, self.dtype if tensor.is_floating_point() else tensor.dtype)
            for name, tensor in named.items()
        }
        if mask is not None:
            given["attention_mask"] = mask.to(self.device)
        known = inspect.signature(runner.forward).parameters
        if "use_cache" in known:
            given["use_cache"] = False
        if "decoder_input_ids" in known:
            given["decoder_input_ids"] = shifted(given["input_ids"], runner)
        with torch.no_grad():
            return runner(**given)

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


def _stand_in(run: Any, index: int) -> Any:
    def forward(*args: Any, **kwargs: Any) -> Any:
        hidden, rest = (args[0], args[1:]) if args else (kwargs.pop("hidden_states"), ())
        return run(index, hidden, *rest, **kwargs)

    return forward
