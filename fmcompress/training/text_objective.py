"""What a language model learns from rows of text: for each part the mean over its tokens, weighed and added up."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ..errors import CalibrationError, ConfigError
from .order import draw
from .text_rows import IGNORED, Row, RowTokenizer, TextBatch, TokenRow

ROWS = 0  # what the seed is used for, beside dropout


class TextObjective:
    """The loss of a step: sum over parts of weight · (sum of -log p of the part's tokens) / (their number in the step).

    model        of transformers, with or without an encoder; its logits are taken, never its own loss, which forgets
                 how many tokens other micro-batches have
    tokenizer    the model's
    examples     rows that are drawn together, such as the label and the rationale of one input
    weights      by part; rows of a part that weighs 0 or is not named are left out, as if they were not there
    batch_size   examples of a step
    micro_batch  rows that run at once; None: all of a step. What is learned does not depend on it but for rounding
    seed         of the order of examples

    rows, cut    how many rows there are, and how many of them lost tokens

    Raises CalibrationError if nothing is left to learn from.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        examples: Sequence[Sequence[Row]],
        weights: Mapping[str, float],
        *,
        batch_size: int = 64,
        micro_batch: int | None = None,
        seed: int = 0,
        longest_prompt: int | None = None,
        longest_completion: int | None = None,
    ) -> None:
        if any(not weight >= 0 for weight in weights.values()) or (micro_batch is not None and micro_batch < 1):
            raise ConfigError(
                f"weights, micro batch: expected 0 or more, and 1 or more, got {dict(weights)}, {micro_batch}."
            )
        self.model, self.weights = model, {part: weight for part, weight in weights.items() if weight > 0}
        self.batch_size, self.micro_batch, self.seed = batch_size, micro_batch, seed
        self.tokenizer = RowTokenizer(model, tokenizer, longest_prompt, longest_completion)
        kept = [[row for row in rows if row.part in self.weights] for rows in examples]
        self.examples = [tuple(map(self.tokenizer.tokens, rows)) for rows in kept if rows]
        if not self.examples:
            raise CalibrationError("examples: none has anything to learn from.")
        self.rows = sum(map(len, self.examples))
        self.cut = sum(row.cut > 0 for rows in self.examples for row in rows)
        self._pool = np.arange(len(self.examples))

    def losses(self, step: int) -> Iterator[Mapping[str, Tensor]]:
        """See Objective."""
        rows = self.drawn(step)
        totals = Counter[str]()
        for row in rows:
            totals[row.part] += len(row.completion)
        for batch in self.batches(rows):
            yield self.batch_losses(batch, totals)

    def drawn(self, step: int) -> list[TokenRow]:
        """The rows of a step, each of an epoch once before any comes again; short ones first where they run apart."""
        places = draw(self._pool, self.batch_size, step, (self.seed, ROWS))
        rows = [row for place in places.tolist() for row in self.examples[place]]
        if self.micro_batch is not None:
            rows.sort(key=lambda row: (len(row.completion), len(row.prompt)))
        return rows

    def batches(self, rows: Sequence[TokenRow]) -> Iterator[TextBatch]:
        """The rows as what runs at once."""
        size, device = self.micro_batch or len(rows), self.model.device
        for begin in range(0, len(rows), size):
            yield self.tokenizer.batch(rows[begin : begin + size], device)

    def batch_losses(self, batch: TextBatch, totals: Mapping[str, int]) -> dict[str, Tensor]:
        """The share of a batch in the losses of a step that has `totals` tokens, by part."""
        return self.shares(token_nats(self.model(**batch.inputs).logits, batch.labels), batch, totals)

    def shares(self, values: Tensor, batch: TextBatch, totals: Mapping[str, int]) -> dict[str, Tensor]:
        """What values of tokens add to the weighted means of a step's parts: [rows, length], 0 where none counts."""
        sums: dict[str, Tensor] = {}
        for part in dict.fromkeys(batch.parts):
            of_part = torch.tensor([one == part for one in batch.parts], device=values.device)
            sums[part] = self.weights[part] * values[of_part].sum() / totals[part]
        return sums


def token_nats(logits: Tensor, labels: Tensor) -> Tensor:
    """-log p of each label, 0 where none counts: [rows, length] float32.

    logits  [rows, length, vocabulary] any float dtype
    labels  [rows, length] int64, IGNORED where none counts
    """
    counted = labels != IGNORED
    nats = cross_entropy(logits[counted].float(), labels[counted], reduction="none")
    return torch.zeros(labels.shape, dtype=nats.dtype, device=nats.device).masked_scatter(counted, nats)
