"""Distilling step-by-step inside transformers' own Trainer, for people who have their set-up around it."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import Trainer

from ..errors import ConfigError
from ..training.text_objective import token_nats
from ..training.text_rows import IGNORED, Row, RowTokenizer

ROWS = ("labels", "parts")  # of a batch, beside the inputs of the model's forward


class RowCollator:
    """Makes one flat batch of the rows of several examples: a forward pass for labels and rationales together.

    model, tokenizer  of transformers
    parts             of the loss, in the order in which a batch numbers them

    Takes elements of `rows_of(…).examples`. Returns the inputs of the model's forward, and
    labels  [rows, length] int64: the token to come at each position of the logits, -100 where none is counted; not the
            labels that a decoder's own loss would shift
    parts   [rows] int64
    """

    def __init__(
        self, model: Any, tokenizer: Any, parts: Sequence[str] = ("label", "rationale"),
        longest_prompt: int | None = None, longest_completion: int | None = None,
    ) -> None:  # fmt: skip
        self.parts = tuple(parts)
        self.rows = RowTokenizer(model, tokenizer, longest_prompt, longest_completion)

    def __call__(self, examples: Sequence[Sequence[Row]]) -> dict[str, Tensor]:
        """See above. Raises ConfigError for a row of a part that is not known."""
        rows = [row for example in examples for row in example]
        unknown = sorted({row.part for row in rows} - {*self.parts})
        if unknown:
            raise ConfigError(f"part {unknown[0]!r}: expected one of {', '.join(self.parts)}. Name it in parts.")
        batch = self.rows.batch([self.rows.tokens(row) for row in rows], torch.device("cpu"))
        numbers = torch.tensor([self.parts.index(part) for part in batch.parts])
        return {**batch.inputs, "labels": batch.labels, "parts": numbers}


class StepByStepTrainer(Trainer):
    """A Trainer whose loss is TextObjective's: for each part the mean over its tokens of the whole step, weighed.

    weights  by part, see weights_of; data_collator must be a RowCollator that knows them

    Gradient accumulation gives the gradient of the large batch, whatever the lengths of labels are: tokens are counted
    over all batches of a step before the first is run. transformers 5.23 does not do that for T5: it does not divide
    the loss by the number of batches, since T5's forward takes keywords, and T5's loss is the mean of its own batch.
    Over several processes tokens are counted over all of them.
    """

    loss_is_scaled_for_ga = True

    def __init__(self, *given: Any, weights: Mapping[str, float], **options: Any) -> None:
        super().__init__(*given, **options)
        collator = self.data_collator
        if not isinstance(collator, RowCollator) or not {*weights} <= {*collator.parts}:
            raise ConfigError(f"data_collator: expected a RowCollator whose parts are {', '.join(weights)}.")
        self.part_weights = torch.tensor([weights.get(part, 0.0) for part in collator.parts])

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> tuple[list[Any], Any]:
        """The batches of a step, and in the place of the number of labels the tokens of each part: [parts] int64."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        counts = sum((self._tokens(batch) for batch in batches), torch.zeros(len(self.part_weights), dtype=torch.int64))
        if self.args.world_size > 1:
            counts = self.accelerator.reduce(counts.to(device), "sum")
        return batches, counts.to(device)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """See Trainer. In evaluation, which counts no parts, the tokens of the batch are counted."""
        outputs = model(**{name: value for name, value in inputs.items() if name not in ROWS})
        nats = token_nats(outputs.logits, inputs["labels"]).sum(1)
        of_step = isinstance(num_items_in_batch, Tensor) and num_items_in_batch.dim() == 1
        counts = num_items_in_batch if of_step else self._tokens(inputs)
        share = self.part_weights.to(nats.device) / counts.to(nats.device).clamp(min=1)
        loss = (nats * share[inputs["parts"]]).sum()
        if of_step:
            loss = loss * self.accelerator.num_processes  # which take the mean of their gradients
        return (loss, outputs) if return_outputs else loss

    def _tokens(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Counted tokens of each part: [parts] int64."""
        of_rows = (batch["labels"] != IGNORED).sum(1)
        return torch.zeros(len(self.part_weights), dtype=of_rows.dtype, device=of_rows.device).index_add(
            0, batch["parts"], of_rows
        )
