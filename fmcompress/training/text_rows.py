"""Texts and what is to be written after them, as batches of one model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..calibration import longest_sequence
from ..errors import CalibrationError, CheckpointError, ConfigError
from ..language_model.tokens import continuation_tokens, prompt_tokens

IGNORED = -100  # a label that is not counted


@dataclass(frozen=True)
class Row:
    """One text to learn.

    prompt      what is given
    completion  what is to be written after it, and nothing more
    part        of the loss that it belongs to, such as "label" or "rationale"
    """

    prompt: str
    completion: str
    part: str = "label"


@dataclass(frozen=True)
class TokenRow:
    """A row as tokens, the end of the text included; never empty.

    cut  tokens that were left out since there was no room
    """

    prompt: tuple[int, ...]
    completion: tuple[int, ...]
    part: str
    cut: int = 0


@dataclass
class TextBatch:
    """Rows that run together.

    inputs  of the model's forward: input_ids and attention_mask [rows, longest], and decoder_input_ids of a model that
            has a decoder of its own
    labels  [rows, length] int64: the token that is to come after each position of the decoder, IGNORED elsewhere
    parts   of the loss, one a row
    """

    inputs: dict[str, Tensor]
    labels: Tensor
    parts: list[str]


class RowTokenizer:
    """Makes batches for a model.

    longest_prompt, longest_completion  tokens; what is more, or more than the model takes at once, is cut: a prompt at
                                        its begin (its end says what is asked for) unless the model has an encoder, a
                                        completion at its end

    Raises ConfigError for a decoder of which nobody knows what it begins with.
    """

    def __init__(
        self, model: Any, tokenizer: Any, longest_prompt: int | None = None, longest_completion: int | None = None
    ) -> None:
        self.tokenizer, self.answers = tokenizer, bool(model.config.is_encoder_decoder)
        self.longest_prompt, self.longest_completion = longest_prompt, longest_completion
        self.longest, self.vocabulary = longest_sequence(model), int(model.config.get_text_config().vocab_size)
        self.begin = _decoder_begin(model.generation_config) if self.answers else ()
        self.pad = next((t for t in (tokenizer.pad_token_id, tokenizer.eos_token_id) if t is not None), 0)

    def tokens(self, row: Row) -> TokenRow:
        """A row as tokens: exactly those that the model sees and writes when it is asked later on.

        Raises CalibrationError if its prompt or its completion is empty, CheckpointError for a token that the model
        does not know.
        """
        prompt = prompt_tokens(self.tokenizer, row.prompt, answers=self.answers)
        if not prompt or not row.completion:
            raise CalibrationError(f"{row.part} of {row.prompt[:60]!r}: expected a text to learn from, got none.")
        completion = continuation_tokens(self.tokenizer, prompt, row.prompt, row.completion, answers=self.answers)
        end = self.tokenizer.eos_token_id
        completion += [] if end is None else [end]
        whole = len(prompt) + len(completion)
        if not completion:
            raise CalibrationError(f"{row.part} of {row.prompt[:60]!r}: {row.completion[:60]!r} holds no tokens.")
        if max(*prompt, *completion) >= self.vocabulary:
            raise CheckpointError(
                f"tokenizer: expected tokens below {self.vocabulary}, as the model has them, got "
                f"{max(*prompt, *completion)}. Give the model its own tokenizer."
            )
        if self.longest is not None:
            completion = completion[: self.longest + 1 - max(1, len(self.begin))]
        completion = completion[: self.longest_completion]
        prompt = self._cut_prompt(prompt, len(completion))
        return TokenRow(tuple(prompt), tuple(completion), row.part, whole - len(prompt) - len(completion))

    def _cut_prompt(self, prompt: list[int], written: int) -> list[int]:
        able = None if self.longest is None else self.longest if self.answers else self.longest + 1 - written
        longest = min((one for one in (self.longest_prompt, able) if one is not None), default=len(prompt))
        if len(prompt) <= longest:
            return prompt
        return [*prompt[: longest - 1], prompt[-1]] if self.answers else prompt[-longest:]

    def batch(self, rows: Sequence[TokenRow], device: torch.device) -> TextBatch:
        """Rows side by side, filled up at the right."""
        parts = [row.part for row in rows]
        if self.answers:
            inputs = {
                "input_ids": _right(self.pad, [row.prompt for row in rows], device),
                "attention_mask": _right(0, [(1,) * len(row.prompt) for row in rows], device),
                "decoder_input_ids": _right(self.pad, [(*self.begin, *row.completion[:-1]) for row in rows], device),
            }
            unasked = (IGNORED,) * (len(self.begin) - 1)
            return TextBatch(inputs, _right(IGNORED, [unasked + row.completion for row in rows], device), parts)
        whole = [(*row.prompt, *row.completion) for row in rows]
        labels = [(IGNORED,) * (len(row.prompt) - 1) + row.completion for row in rows]
        inputs = {
            "input_ids": _right(self.pad, [row[:-1] for row in whole], device),
            "attention_mask": _right(0, [(1,) * (len(row) - 1) for row in whole], device),
        }
        return TextBatch(inputs, _right(IGNORED, labels, device), parts)


def _decoder_begin(generation: Any) -> tuple[int, ...]:
    """What a decoder is given before it writes: its start, and where it is forced to, as BART is, another token."""
    start = generation.decoder_start_token_id
    if start is None:
        start = generation.bos_token_id
    if start is None:
        raise ConfigError(
            "decoder_start_token_id: expected the token that the decoder begins with, got none. Set it in the "
            "student's generation_config.json."
        )
    forced = generation.forced_bos_token_id
    return (start,) if forced is None else (start, forced)


def _right(fill: int, rows: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """[rows, longest] int64"""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[fill] * (longest - len(row))] for row in rows], dtype=torch.int64, device=device)
