"""Perplexity of a checkpoint on a text, one block in memory at a time."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from .calibration import StreamedModel, cut_windows, load_tokenizer, token_stream
from .config import pick_dtype
from .errors import CheckpointError
from .formats import open_checkpoint

BATCH_TOKENS = 4096
ACTIVATION_BYTES = 1 << 30  # hidden states held at once; longer texts are streamed through the model in parts


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
    checkpoint = open_checkpoint(model)
    stored = next((e.dtype for e in checkpoint.tensors.values() if e.dtype.is_floating_point), torch.float32)
    streamed = StreamedModel(checkpoint, device, pick_dtype(dtype, device, stored))
    config = streamed.model.config.get_text_config()
    length = min(sequence_length, getattr(config, "max_position_embeddings", None) or sequence_length)
    wanted = None if max_windows is None else max_windows * length
    windows = cut_windows(token_stream(load_tokenizer(model), text, wanted), length, str(text))[:max_windows]
    width = getattr(config, "hidden_size", 4096) * streamed.dtype.itemsize
    parts = windows.split(max(1, ACTIVATION_BYTES // (width * length)))
    blocks, nats = len(streamed.text_blocks), 0.0
    for number, part in enumerate(parts):
        nats += _negative_log_likelihood(
            streamed, part, partial(_report, progress, number * blocks, len(parts) * blocks)
        )
    predicted = len(windows) * (length - 1)
    mean = nats / predicted
    if math.isnan(mean):
        raise CheckpointError(f"{model}: its outputs hold NaN. The checkpoint is damaged, or try --dtype float32.")
    return Perplexity(math.exp(mean) if mean < 700 else math.inf, mean, predicted, len(windows), length)


def _report(progress: Callable[[int, int], None], before: int, total: int, block: int) -> None:
    progress(before + block, total)


def _negative_log_likelihood(streamed: StreamedModel, windows: Tensor, progress: Callable[[int], None]) -> float:
    """Sum in nats over the predicted tokens of windows [count, length]."""
    parts = windows.split(max(1, BATCH_TOKENS // windows.shape[1]))
    with torch.no_grad():
        with streamed.outside_kept():
            batches = [streamed.embed(part) for part in parts]
        for done, index in enumerate(streamed.text_blocks, 1):
            with streamed.loaded(index) as block:
                for batch in batches:
                    batch.hidden = streamed.run_block(index, block, batch)
            progress(done)
        total = 0.0
        with streamed.outside_kept():
            for part, batch in zip(parts, batches, strict=True):
                logits = streamed.logits(part, batch.hidden)[:, :-1].float()
                targets = part[:, 1:].to(logits.device)
                total += float(
                    torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")
                )
        return total
