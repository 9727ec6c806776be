"""Checkpoints beside the model that they were made from: perplexity, KL divergence and agreement, token by token."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from .calibration import StreamedModel, longest_sequence
from .errors import CheckpointError, ConfigError
from .evaluation import (
    Hidden,
    final_hidden,
    open_streamed,
    part_of,
    perplexity,
    predictions,
    read_windows,
    windows_at_once,
)


@dataclass(frozen=True)
class Quality:
    """One model beside the reference, over the predicted tokens of a text.

    ratio             its perplexity over the reference's
    kl_mean, kl_p99, kl_max  KL(reference || model) in nats a token: mean, 99th percentile and largest
    top1_agreement    share in [0, 1] of tokens for which both hold the same next token the likeliest
    checkpoint_bytes  of all its tensors
    bits_per_weight   of the matrices in its blocks, as they are stored
    """

    model: str
    perplexity: float
    nats_per_token: float
    ratio: float
    kl_mean: float
    kl_p99: float
    kl_max: float
    top1_agreement: float
    checkpoint_bytes: int
    bits_per_weight: float


@dataclass(frozen=True)
class Comparison:
    """The reference first, then the models that were held against it."""

    models: list[Quality]
    predicted_tokens: int
    windows: int
    sequence_length: int


@dataclass
class _Tally:
    """What is summed up of one model."""

    nats: float = 0.0
    kl: list[Tensor] = field(default_factory=list)  # a float32 per token
    agreed: int = 0


def compare(
    models: Sequence[Path],
    text: Path,
    sequence_length: int,
    device: torch.device,
    dtype: str = "auto",
    max_windows: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Comparison:
    """Hold checkpoints against the first one, on non-overlapping windows of a text.

    models  two or more dense, packed or compressed-tensors checkpoints that share tokens; the other arguments are those
            of evaluate()

    One block is in memory at a time. Of all models the final hidden states of a part of the text are held, and of two
    models at a time the output layer and the logits of a slice of it. Raises ConfigError if there is nothing to
    compare, CheckpointError or CalibrationError if a model or the text will not do or models differ in their tokens.
    """
    if len(models) < 2:
        raise ConfigError("--compare: expected the dense model and at least one other, got one folder.")
    streamed = [open_streamed(model, device, dtype) for model in models]
    longest = [length for length in (longest_sequence(each.model) for each in streamed) if length]
    length = min([sequence_length, *longest])
    windows = _shared_windows(models, streamed, text, length, max_windows)
    tallies = [_Tally() for _ in models]
    parts = windows.split(windows_at_once(streamed, length))
    steps, done = len(parts) * sum(len(model.text_blocks) for model in streamed), 0
    for part in parts:
        hidden = []
        for model in streamed:
            hidden.append(final_hidden(model, part, part_of(progress, done, steps)))
            done += len(model.text_blocks)
        for index in range(1, len(models)):  # in pairs: the output layers of all may not fit
            own = tallies[0] if index == 1 else _Tally()
            _compare_pair(streamed[0], hidden[0], own, streamed[index], hidden[index], tallies[index])
    predicted = len(windows) * (length - 1)
    tallies[0].agreed = predicted
    tallies[0].kl = [torch.zeros(1)]
    base = tallies[0].nats / predicted
    found = [_quality(*each, predicted, base) for each in zip(models, streamed, tallies, strict=True)]
    return Comparison(found, predicted, len(windows), length)


def _shared_windows(
    models: Sequence[Path], streamed: Sequence[StreamedModel], text: Path, length: int, max_windows: int | None
) -> Tensor:
    """The windows of the text, once it is known that all models see the same ones and tell the same tokens apart."""
    sizes = [getattr(model.model.config.get_text_config(), "vocab_size", None) for model in streamed]
    for model, size in zip(models, sizes, strict=True):
        if size != sizes[0]:
            raise CheckpointError(
                f"{model}: expected the {sizes[0]} tokens of {models[0]}, got a vocabulary of {size}. "
                "Compare models that share their tokens."
            )
    windows = read_windows(models[0], text, length, max_windows)
    for model in models[1:]:
        if not read_windows(model, text, length, max_windows).equal(windows):
            raise CheckpointError(
                f"{model}: its tokenizer cuts the text into other tokens than that of {models[0]}. "
                "Compare models that share their tokenizer."
            )
    return windows


def _compare_pair(
    reference: StreamedModel, expected: Hidden, of_reference: _Tally, model: StreamedModel, got: Hidden, tally: _Tally
) -> None:
    """Add what the logits of two models tell of a part of the text."""
    for log_p, log_q, targets in log_probabilities(reference, expected, model, got):
        where = targets.unsqueeze(-1)
        of_reference.nats -= float(log_p.gather(-1, where).sum(dtype=torch.float64))
        tally.nats -= float(log_q.gather(-1, where).sum(dtype=torch.float64))
        tally.agreed += int((log_p.argmax(-1) == log_q.argmax(-1)).sum())
        tally.kl.append(kl_(log_p, log_q).flatten().cpu())


def log_probabilities(
    reference: StreamedModel, expected: Hidden, model: StreamedModel, got: Hidden
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """What two models, which may be one, say of a part of the text, in slices that fit.

    returns  log-probabilities of the reference and of the model [n, length, vocabulary] float32, and what came next
             [n, length] int64
    """
    with torch.no_grad(), reference.outside_kept(), model.outside_kept():
        slices = zip(predictions(reference, expected), predictions(model, got), strict=True)
        for (tokens, before, targets), (_, after, _) in slices:
            log_p = reference.logits(tokens, before).float().log_softmax(-1)
            yield log_p, model.logits(tokens, after).float().log_softmax(-1), targets.to(log_p.device)


def kl_(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) in nats a token, [n, length]. log_p is overwritten."""
    difference = log_p - log_q
    p = log_p.exp_()
    difference.masked_fill_(p == 0, 0.0)  # what the reference rules out costs nothing, also where both do
    return p.mul_(difference).sum(-1).clamp_min_(0)  # rounding may leave it below 0


def _quality(path: Path, streamed: StreamedModel, tally: _Tally, predicted: int, base: float) -> Quality:
    kl = torch.cat(tally.kl).double().sort().values
    value, nats = perplexity(tally.nats / predicted, path)
    return Quality(
        model=str(path),
        perplexity=value,
        nats_per_token=nats,
        ratio=perplexity(nats - base, path)[0],
        kl_mean=float(kl.mean()),
        kl_p99=float(kl[min(len(kl) - 1, len(kl) * 99 // 100)]),
        kl_max=float(kl[-1]),
        top1_agreement=tally.agreed / predicted,
        checkpoint_bytes=streamed.checkpoint.total_bytes,
        bits_per_weight=_bits_per_weight(streamed),
    )


def _bits_per_weight(streamed: StreamedModel) -> float:
    """On disk, scales and places included, of every weight of the blocks that can be pruned."""
    weights = dict[str, int]()
    for index in streamed.text_blocks:
        weights |= {tensor: place.weight.numel() for _, tensor, place in streamed.places(index)}
    stored = sum(streamed.checkpoint.entry(name).size_bytes for name in weights)
    return 8 * stored / max(1, sum(weights.values()))
