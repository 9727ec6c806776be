"""Answers to questions about images and videos: written, or the likeliest of a list."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import ConfigError
from .loaded import Medium, OmniVL, Progress, silent

MAX_TOKENS = 10


@dataclass(frozen=True)
class Answer:
    """An answer to a question.

    scores  log-likelihood of each answer of the list that was given, in its order; empty where it was written freely
    """

    text: str
    scores: tuple[float, ...] = ()


def answer(
    model: OmniVL, media: Sequence[Medium], questions: Sequence[str], *, answers: Sequence[str] = (),
    beams: int = 1, max_tokens: int = MAX_TOKENS, progress: Progress = silent,
) -> list[Answer]:  # fmt: skip
    """An answer to the question about each image or video.

    questions   one each
    answers     what may be answered: the one of the highest log-likelihood, summed over its tokens and its end, as
                BLIP ranks them; all are tried, where BLIP first sorts out by their first token
    beams       of an answer that is written freely

    The alignment decoder reads the question at the image, the generation decoder answers from what it made of both.
    Raises ConfigError for inputs that do not fit, CalibrationError for a file that cannot be read.
    """
    if len(questions) != len(media):
        raise ConfigError(f"questions: expected {len(media)}, one each of images and videos, got {len(questions)}.")
    if len(set(answers)) < len(answers):
        raise ConfigError("answers: expected different ones.")
    if beams < 1 or max_tokens < 1:
        raise ConfigError(f"beams, max tokens: expected 1 or more, got {beams} and {max_tokens}.")
    found = [Answer("")] * len(media)
    longest = model.inputs.config.text_config.max_position_embeddings
    for rows, seen in model.seen(media, progress):
        ids, mask = model.tokens([questions[row] for row in rows])
        with torch.inference_mode():
            fused = model.model.fuse(ids, mask, seen.last_hidden_state)
        if answers:
            scores = _scores(model, fused, mask, answers)
            best = [Answer(answers[int(row.argmax())], tuple(row.tolist())) for row in scores]
        else:
            written = model.model.write(
                fused, mask, do_sample=False, num_beams=beams, max_new_tokens=min(max_tokens, longest - 1)
            )
            best = [Answer(text) for text in model.inputs.decode(written)]
        for row, one in zip(rows, best, strict=True):
            found[row] = one
    return found


@torch.inference_mode()
def _scores(model: OmniVL, fused: Tensor, mask: Tensor, answers: Sequence[str]) -> Tensor:
    """[items, answers] float32: sums of log-likelihoods of tokens behind [DEC], up to and with [SEP]."""
    columns = []
    for part in model.parts(answers):
        ids, real = model.tokens(part)
        items, some = len(fused), len(part)
        logits = model.model.predict_tokens(
            ids.repeat(items, 1), real.repeat(items, 1),
            fused.repeat_interleave(some, dim=0), mask.repeat_interleave(some, dim=0),
        )  # fmt: skip
        told = logits[:, :-1].float().log_softmax(dim=-1)
        wanted = told.gather(-1, ids.repeat(items, 1)[:, 1:, None]).squeeze(-1)
        columns.append((wanted * real.repeat(items, 1)[:, 1:]).sum(dim=-1).view(items, some))
    return torch.cat(columns, dim=1).cpu()


def notes_of(model: OmniVL) -> list[str]:
    """What a user should know before believing an answer."""
    kinds = getattr(model.inputs.config, "trained_on", None)
    if not isinstance(kinds, list) or "questions" in kinds:
        return []
    return [f"the model was trained on {', '.join(map(str, kinds))}, and never on questions: its answers mean little"]


def right_answers(given: Sequence[Answer], wanted: Sequence[str | None]) -> float | None:
    """The share of answers that are those wanted, in any case and spacing; None if none is."""

    def plain(text: str) -> str:
        return " ".join(text.lower().split())

    known = [plain(one.text) == plain(want) for one, want in zip(given, wanted, strict=False) if want is not None]
    return sum(known) / len(known) if known else None
