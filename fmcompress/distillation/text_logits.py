"""Rows of text learned from a teacher's logits beside their own tokens, by students with an encoder and without."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..calibration import load_tokenizer
from ..errors import CheckpointError
from ..runtime import load
from ..training.text_objective import TextObjective, token_nats
from ..training.text_rows import IGNORED, Row, TextBatch
from .logit_objective import divergence, shared_vocabulary


def load_teacher(folder: Path, student: Any, tokenizer: Any, device: torch.device) -> Any:
    """A teacher in float32 that does not learn, whose logits stand beside those of a student.

    folder  of a dense, packed or compressed-tensors checkpoint, of the student's tokens and kind

    Raises CheckpointError if it has other tokens, or an encoder where the student has none.
    """
    model = load(folder, device=str(device), dtype="float32").requires_grad_(False)
    if bool(model.config.is_encoder_decoder) != bool(student.config.is_encoder_decoder) or not model.can_generate():
        kind = "an encoder and a decoder" if student.config.is_encoder_decoder else "a decoder alone"
        raise CheckpointError(f"{folder}: expected a language model of {kind}, as the student is, got another kind.")
    sizes = [one.config.get_text_config().vocab_size for one in (student, model)]
    shared_vocabulary(tokenizer, load_tokenizer(folder), (sizes[0], sizes[1]), ("the student", folder))
    return model


class TextLogitObjective(TextObjective):
    """TextObjective whose parts are mixed with the divergence from a teacher, over the tokens of the completions.

    teacher         of load_teacher
    teacher_weight  in [0, 1]: a part's loss is (1 - weight) times that of its tokens and weight times the divergence
    temperature     of both models' logits

    0 is TextObjective, bit for bit.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        examples: Sequence[Sequence[Row]],
        weights: Mapping[str, float],
        *,
        teacher: Any,
        teacher_weight: float = 0.5,
        temperature: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(model, tokenizer, examples, weights, **options)
        self.teacher, self.teacher_weight, self.temperature = teacher, teacher_weight, temperature

    def batch_losses(self, batch: TextBatch, totals: Mapping[str, int]) -> dict[str, Tensor]:
        """See TextObjective; "teacher" is the share of the divergence, of all parts."""
        if not self.teacher_weight:
            return super().batch_losses(batch, totals)
        logits = self.model(**batch.inputs).logits
        counted = batch.labels != IGNORED
        with torch.no_grad():
            said = self.teacher(**batch.inputs).logits[counted]
        shared = min(said.shape[-1], logits.shape[-1])
        kl = torch.zeros(batch.labels.shape, device=logits.device).masked_scatter(
            counted, divergence(logits[counted][:, :shared], said[:, :shared], self.temperature)
        )
        own = self.shares(token_nats(logits, batch.labels), batch, totals)
        learned = torch.stack(list(self.shares(kl, batch, totals).values())).sum()
        mixed = {part: (1 - self.teacher_weight) * loss for part, loss in own.items()}
        return {**mixed, "teacher": self.teacher_weight * learned}
