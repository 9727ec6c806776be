"""What OmniVL learns from a batch: UniVLC, matching with hard negatives, and writing (Wang et al. 2022)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ...models.omnivl import OmniVLModel
from .memory_bank import MemoryBank
from .momentum import MomentumModel
from .negatives import hard_negatives
from .univlc import Keys, univlc_loss

DECODERS = ("alignment_decoder", "generation_decoder")
IGNORED = -100  # of cross_entropy


@dataclass(frozen=True)
class Batch:
    """Images or videos, never both, and a text for each.

    pixels                     see OmniVLVisualEncoder
    input_ids, attention_mask  [items, tokens] int64: a caption, the prompt of a class, or an answer
    labels                     [items] int64: the class of labelled items, below 0 for captions and answers, which get
                               a number of their own
    question_ids, question_mask  [items, tokens] of a batch of questions; then the texts are the answers
    """

    pixels: Tensor
    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    question_ids: Tensor | None = None
    question_mask: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)


class Objective:
    """The losses of batch after batch; keeps the momentum model and the memory bank.

    model        trained by somebody else, between the calls
    momentum     of the momentum model
    bank_size    embeddings that are compared to beside those of the batch; 0: none
    contrast     "univlc", or "plain": labelled items are told apart as captioned ones are, which is ALBEF's loss
                 without its soft targets
    reduction    see univlc_losses
    decoder_rows captioned items of a batch that the decoders see, the first ones; None: all
    generator    draws hard negatives

    Matching and writing learn from captions only: the prompt of a class says too little of an image. This is ours; the
    paper does not tell.
    """

    def __init__(
        self,
        model: OmniVLModel,
        *,
        momentum: float = 0.995,
        bank_size: int = 4096,
        contrast: Literal["univlc", "plain"] = "univlc",
        reduction: Literal["mean_pos", "sum_pos"] = "mean_pos",
        decoder_rows: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        self.model, self.contrast, self.reduction = model, contrast, reduction
        self.decoder_rows, self.generator = decoder_rows, generator
        self.follower = MomentumModel(model, momentum, without=DECODERS)
        self.bank = MemoryBank(model.config.projection_dim, bank_size).to(model.device)
        self.seen = 0  # items with a number of their own so far

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """The losses "contrastive", "matching" and "writing", or "answering" of a batch of questions: means, to be
        summed. Those of which a batch has no items are left out.

        Changes the momentum model and the memory bank.
        """
        if batch.question_ids is not None:
            return {"answering": self.answering(batch)}
        model = self.model
        visual = model.visual_encoder(batch.pixels)
        embedded = model.visual_embedding(visual.pooler_output)
        text = model.get_text_features(batch.input_ids, batch.attention_mask)
        labels = self._numbered(batch.labels)
        losses = {"contrastive": self._contrastive(batch, embedded, text, labels)}
        rows = (batch.labels < 0).nonzero()[: self.decoder_rows, 0]
        if len(rows):
            ids, mask, seen = batch.input_ids[rows], batch.attention_mask[rows], visual.last_hidden_state[rows]
            similarity = (embedded[rows] @ text[rows].T / model.temperature).detach()
            losses["matching"] = self._matching(ids, mask, seen, similarity, labels[rows])
            losses["writing"] = next_token_loss(model.predict_tokens(ids, mask, seen), ids, mask)
        return losses

    def answering(self, batch: Batch) -> Tensor:
        """The loss of writing the answers, looking at what the alignment decoder makes of question and image."""
        assert batch.question_ids is not None
        seen = self.model.visual_encoder(batch.pixels).last_hidden_state
        fused = self.model.fuse(batch.question_ids, batch.question_mask, seen)
        logits = self.model.predict_tokens(batch.input_ids, batch.attention_mask, fused, batch.question_mask)
        return next_token_loss(logits, batch.input_ids, batch.attention_mask)

    def _contrastive(self, batch: Batch, visual: Tensor, text: Tensor, labels: Tensor) -> Tensor:
        self.follower.update(self.model)
        with torch.no_grad():
            steady = self.follower.model
            keys = Keys(
                steady.get_image_features(batch.pixels),
                steady.get_text_features(batch.input_ids, batch.attention_mask),
                labels,
            )
        loss = univlc_loss(
            visual, text, labels, keys=self.bank.after(keys), temperature=self.model.temperature,
            reduction=self.reduction,
        )  # fmt: skip
        self.bank.push(keys)
        return loss

    def _matching(self, ids: Tensor, mask: Tensor, seen: Tensor, similarity: Tensor, labels: Tensor) -> Tensor:
        """One pair that belongs together to two that do not: another text, another image (Li et al. 2021, ALBEF)."""
        other_text = hard_negatives(similarity, labels, labels, self.generator)
        other_image = hard_negatives(similarity.T, labels, labels, self.generator)
        own = torch.arange(len(labels), device=ids.device)
        with_text, with_image = other_text >= 0, other_image >= 0
        texts = torch.cat([own, other_text[with_text], own[with_image]])
        images = torch.cat([own, own[with_text], other_image[with_image]])
        together = torch.zeros(len(texts), dtype=torch.int64, device=ids.device)
        together[: len(own)] = 1
        return nn.functional.cross_entropy(self.model.match(ids[texts], mask[texts], seen[images]), together)

    def _numbered(self, labels: Tensor) -> Tensor:
        """Classes are numbers from 0 on; whatever is alone gets a negative one that was never given before."""
        alone = labels < 0 if self.contrast == "univlc" else torch.ones_like(labels, dtype=torch.bool)
        numbers = -1 - self.seen - torch.arange(len(labels), device=labels.device)
        self.seen += len(labels)
        return torch.where(alone, numbers, labels)


def next_token_loss(logits: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """Mean cross-entropy of each token but the first, over tokens that are no padding.

    logits                     [texts, tokens, vocabulary]
    input_ids, attention_mask  [texts, tokens]
    """
    wanted = input_ids[:, 1:].masked_fill(attention_mask[:, 1:] == 0, IGNORED)
    return nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), wanted.flatten(), ignore_index=IGNORED)
