"""Perplexity of a checkpoint on a text, one block in memory at a time."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from .calibration import (
    BATCH_TOKENS,
    Reader,
    StreamedModel,
    cut_windows,
    load_tokenizer,
    longest_sequence,
    token_stream,
)
from .devices import pick_dtype
from .errors import CheckpointError
from .formats import open_checkpoint

ACTIVATION_BYTES = 1 << 30  # hidden states held at once; longer texts are streamed through the model in parts
LOGIT_BYTES = 1 << 27  # float32 logits of one model held at once: a vocabulary may have 256k tokens

Hidden = list[tuple[Tensor, Tensor]]  # tokens [n, length] int64, hidden states [n, length, width]


@dataclass(frozen=True)
class Perplexity:
    """exp(mean negative log-likelihood in nats) over the predicted tokens: all of a window but its first."""

    perplexity: float
    nats_per_token: float
    predicted_tokens: int
    windows: int
    sequence_length: int


def evaluate(
    model: Path,
    text: Path,
    sequence_length: int,
    device: torch.device,
    dtype: str = "auto",
    max_windows: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Perplexity:
    """Perplexity on non-overlapping windows of a text, tokenised as one stream without special tokens.

    model            dense, packed or compressed-tensors checkpoint

    sequence_length  tokens in a window, each on its own; capped at what the model was made for
    max_windows      use only the first so many
    progress         called with (blocks run, blocks in all)

    Raises CheckpointError or CalibrationError if the model or the text will not do.
    """
    streamed = open_streamed(model, device, dtype)
    length = min(sequence_length, longest_sequence(streamed.model) or sequence_length)
    windows = read_windows(model, text, length, max_windows)
    nats = mean_nats(streamed, windows, progress)
    return Perplexity(*perplexity(nats, model), len(windows) * (length - 1), len(windows), length)


def mean_nats(
    streamed: StreamedModel, windows: Tensor, progress: Callable[[int, int], None] = lambda done, total: None
) -> float:
    """Mean negative log-likelihood over all tokens of windows [count, length] but the first of each."""
    count, length = windows.shape
    parts = windows.split(windows_at_once([streamed], length))
    blocks, nats = len(streamed.text_blocks), 0.0
    for number, part in enumerate(parts):
        hidden = final_hidden(streamed, part, part_of(progress, number * blocks, len(parts) * blocks))
        with torch.no_grad(), streamed.outside_kept():
            for tokens, states, targets in predictions(streamed, hidden):
                logits = streamed.logits(tokens, states).float()
                nats += float(cross_entropy(logits.flatten(0, 1), targets.flatten().to(logits.device), reduction="sum"))
    return nats / (count * (length - 1))


def open_streamed(model: Path, device: torch.device, dtype: str) -> StreamedModel:
    """A language model of any format, to be run block by block; auto is the dtype that it is stored in.

    Raises CheckpointError if it is another kind of model.
    """
    checkpoint = open_checkpoint(model)
    stored = next((e.dtype for e in checkpoint.tensors.values() if e.dtype.is_floating_point), torch.float32)
    streamed = StreamedModel(checkpoint, device, pick_dtype(dtype, device, stored))
    _ = streamed.text_blocks
    return streamed


def read_windows(model: Path, text: Path, length: int, max_windows: int | None) -> Tensor:
    """The first non-overlapping windows [count, length] of a text, int64, by the model's own tokenizer."""
    wanted = None if max_windows is None else max_windows * length
    return cut_windows(token_stream(load_tokenizer(model), text, wanted), length, str(text))[:max_windows]


def windows_at_once(models: Sequence[StreamedModel], length: int) -> int:
    """Of how many windows the hidden states of all models may be held."""
    widths = (getattr(m.model.config.get_text_config(), "hidden_size", 4096) * m.dtype.itemsize for m in models)
    return max(1, ACTIVATION_BYTES // (sum(widths) * length))


def final_hidden(
    streamed: StreamedModel,
    windows: Tensor,
    progress: Callable[[int], None] = lambda block: None,
    source: Reader | None = None,
) -> Hidden:
    """Run windows [count, length] through all blocks. Returns (windows, states after the last block) in batches.

    progress  called with the number of blocks run
    source    where the blocks' weights come from, if not from the checkpoint
    """
    parts = windows.split(max(1, BATCH_TOKENS // windows.shape[1]))
    with torch.no_grad():
        with streamed.outside_kept():
            batches = [streamed.embed(part) for part in parts]
        for done, index in enumerate(streamed.text_blocks, 1):
            with streamed.loaded(index, source) as block:
                for batch in batches:
                    batch.hidden = streamed.run_block(index, block, batch)
            progress(done)
    return [(part, batch.hidden) for part, batch in zip(parts, batches, strict=True)]


def predictions(streamed: StreamedModel, hidden: Hidden) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Slices so small that their logits may be held: (tokens [n, l], hidden states [n, l, width], next tokens [n, l]).

    Whole windows but for their last token where those fit, else parts of one: what follows the last block looks at
    every token by itself.
    """
    vocabulary = getattr(streamed.model.config.get_text_config(), "vocab_size", 1 << 17)
    at_once = max(1, LOGIT_BYTES // (4 * vocabulary))
    for tokens, states in hidden:
        length = tokens.shape[1] - 1
        rows = max(1, at_once // length)
        for top in range(0, len(tokens), rows):
            for begin in range(0, length, at_once):
                end = min(begin + at_once, length)
                here = slice(top, top + rows), slice(begin, end)
                yield tokens[here], states[here], tokens[top : top + rows, begin + 1 : end + 1]


def perplexity(nats: float, model: Path) -> tuple[float, float]:
    """(perplexity, nats) of a mean in nats a token. Raises CheckpointError for a NaN."""
    if math.isnan(nats):
        raise CheckpointError(f"{model}: its outputs hold NaN. The checkpoint is damaged, or try --dtype float32.")
    return math.exp(nats) if nats < 700 else math.inf, nats


def part_of(progress: Callable[[int, int], None], before: int, total: int) -> Callable[[int], None]:
    """What a step that is one of several tells of its blocks."""
    return lambda block: progress(before + block, total)
