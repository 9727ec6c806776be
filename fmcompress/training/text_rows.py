"""Texts and what is to be written after them, as batches of one model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import CalibrationError
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

    longest_prompt, longest_completion  tokens; what is more is cut, a prompt at its begin (its end says what is asked
                                        for) unless the model has an encoder, a completion at its end
    """

    def __init__(
        self, model: Any, tokenizer: Any, longest_prompt: int | None = None, longest_completion: int | None = None
    ) -> None:
        self.tokenizer, self.answers = tokenizer, bool(model.config.is_encoder_decoder)
        self.longest_prompt, self.longest_completion = longest_prompt, longest_completion
        self.start = model.generation_config.decoder_start_token_id if self.answers else None
        self.pad = next((t for t in (tokenizer.pad_token_id, tokenizer.eos_token_id) if t is not None), 0)

    def tokens(self, row: Row) -> TokenRow:
        """A row as tokens: exactly those that the model sees and writes when it is asked later on.

        Raises CalibrationError if its prompt or its completion is empty.
        """
        prompt = prompt_tokens(self.tokenizer, row.prompt, answers=self.answers)
        if not prompt or not row.completion:
            raise CalibrationError(f"{row.part} of {row.prompt[:60]!r}: expected a text to learn from, got none.")
        completion = continuation_tokens(self.tokenizer, prompt, row.prompt, row.completion, answers=self.answers)
        end = self.tokenizer.eos_token_id
        completion += [] if end is None else [end]
        whole = len(prompt) + len(completion)
        prompt = self._cut_prompt(prompt)
        completion = completion[: self.longest_completion]
        return TokenRow(tuple(prompt), tuple(completion), row.part, whole - len(prompt) - len(completion))

    def _cut_prompt(self, prompt: list[int]) -> list[int]:
        longest = self.longest_prompt
        if longest is None or len(prompt) <= longest:
            return prompt
        return [*prompt[: longest - 1], prompt[-1]] if self.answers else prompt[-longest:]

    def batch(self, rows: Sequence[TokenRow], device: torch.device) -> TextBatch:
        """Rows side by side, filled up at the right."""
        parts = [row.part for row in rows]
        if self.answers:
            assert self.start is not None
            inputs = {
                "input_ids": _right(self.pad, [row.prompt for row in rows], device),
                "attention_mask": _right(0, [(1,) * len(row.prompt) for row in rows], device),
                "decoder_input_ids": _right(self.pad, [(self.start, *row.completion[:-1]) for row in rows], device),
            }
            return TextBatch(inputs, _right(IGNORED, [row.completion for row in rows], device), parts)
        whole = [(*row.prompt, *row.completion) for row in rows]
        labels = [(IGNORED,) * (len(row.prompt) - 1) + row.completion for row in rows]
        inputs = {
            "input_ids": _right(self.pad, [row[:-1] for row in whole], device),
            "attention_mask": _right(0, [(1,) * (len(row) - 1) for row in whole], device),
        }
        return TextBatch(inputs, _right(IGNORED, labels, device), parts)


def _right(fill: int, rows: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """[rows, longest] int64"""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[fill] * (longest - len(row))] for row in rows], dtype=torch.int64, device=device)
