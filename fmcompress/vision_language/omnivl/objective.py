"""The losses of one batch: UniVLC, matching with hard negatives, and writing captions and answers."""

from typing import Literal

import torch
from torch import Tensor, nn

from ...errors import ConfigError
from ...models.omnivl import OmniVLModel
from .data import CAPTION, QUESTION, Batch, Said
from .memory_bank import MemoryBank
from .momentum import MomentumModel
from .negatives import hard_negatives
from .univlc import Keys, univlc_loss

DECODERS = ("alignment_decoder", "generation_decoder")
BANK = 1024
LOSSES = ("contrastive", "matching", "captions", "answers")


class Objective:
    """What a model is trained for (Wang et al. 2022): the sum of UniVLC, VLM and LM, of equal weight.

    contrastive  UniVLC of captioned and labelled items
    matching     does a text belong to an image? Each item's pair against its text with a hard negative image, and its
                 image with a hard negative text (Li et al. 2021, ALBEF)
    captions     the next token of captions, mean over tokens; prompts of classes are not written
    answers      the next token of answers, looking at what fuse() makes of question and image

    A question says nothing of its image, so that it is neither contrasted nor matched: our formulation, as is that
    texts that are equal word for word are no negatives of each other where pairs are matched.

    model      is trained
    contrast   "univlc", or "plain" contrast, in which every image and video is a class of its own
    momentum   of the model whose embeddings are compared to; 0: the model's own, without a second model
    bank       embeddings that are kept of batches before; 1024 by default, none without a second model: those of a
               model that learns fast are of many models, and all collapse into one point
    reduction  see univlc_losses()
    decoder_rows  items of a batch that each decoder learns from at most, the first; None: all. Decoders cost most of a
                  step, and need fewer items than contrast does
    """

    def __init__(
        self, model: OmniVLModel, *, contrast: Literal["univlc", "plain"] = "univlc", momentum: float = 0.995,
        bank: int | None = None, reduction: Literal["mean_pos", "sum_pos"] = "mean_pos",
        decoder_rows: int | None = None,
    ) -> None:  # fmt: skip
        if contrast not in ("univlc", "plain"):
            raise ConfigError(f"contrast: expected univlc or plain, got {contrast!r}.")
        bank = bank if bank is not None else BANK if momentum else 0
        if not 0 <= momentum <= 1 or bank < 0:
            raise ConfigError(f"momentum, bank: expected a number in [0, 1] and one from 0 on, got {momentum}, {bank}.")
        self.model, self.contrast, self.reduction, self.decoder_rows = model, contrast, reduction, decoder_rows
        self.momentum = MomentumModel(model, momentum, without=DECODERS) if momentum else None
        self.bank = MemoryBank(model.config.projection_dim, bank).to(model.device)

    def losses(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """The losses of a batch that there are in it, scalars float32; their sum is to be made small.

        The momentum model follows the model, and the batch's embeddings go into the bank.

        batch      on the model's device
        generator  on the CPU, draws hard negatives
        """
        said, found = batch.said, {}
        visual = self.model.visual_encoder(batch.pixels)
        seen, pooled = visual.last_hidden_state, visual.pooler_output
        paired = (said.kinds != QUESTION).nonzero()[:, 0]
        if len(paired):
            pairs, shown = said.take(paired), seen[paired]
            y = pairs.labels if self.contrast == "univlc" else pairs.own
            own = Keys(self.model.visual_embedding(pooled[paired]), self._texts(self.model, pairs), y)
            found["contrastive"] = self._contrastive(own, batch.pixels[paired], pairs)
            if not bool(found["contrastive"].isfinite()):
                return found  # whoever trains stops here: no negatives can be drawn
            first = torch.arange(len(paired), device=seen.device)[: self.decoder_rows]
            few = Keys(*(one[first] for one in own))
            matching = matching_loss(self.model, few, pairs.take(first), shown[first], generator)
            if matching is not None:
                found["matching"] = matching
        captions = (said.kinds == CAPTION).nonzero()[: self.decoder_rows, 0]
        if len(captions):
            found["captions"] = captions_loss(self.model, said.take(captions), seen[captions])
        questions = (said.kinds == QUESTION).nonzero()[: self.decoder_rows, 0]
        if len(questions):
            found["answers"] = answers_loss(self.model, said.take(questions), seen[questions])
        return found

    def _contrastive(self, own: Keys, pixels: Tensor, pairs: Said) -> Tensor:
        keys = own if self.momentum is None else self._followed(pixels, pairs, own.labels)
        with torch.autocast(pixels.device.type, enabled=False):  # cosines over 0.07 need more than 8 bits
            loss = univlc_loss(
                own.visual.float(), own.text.float(), own.labels, keys=self.bank.after(_in_float(keys)),
                temperature=self.model.temperature, reduction=self.reduction,
            )  # fmt: skip
        self.bank.push(Keys(keys.visual.detach(), keys.text.detach(), keys.labels))
        return loss

    @torch.no_grad()
    def _followed(self, pixels: Tensor, pairs: Said, labels: Tensor) -> Keys:
        """Embeddings of the momentum model, after it has followed by a step."""
        assert self.momentum is not None
        self.momentum.update(self.model)
        model: OmniVLModel = self.momentum.model  # type: ignore[assignment]
        return Keys(model.get_image_features(pixels), self._texts(model, pairs), labels)

    @staticmethod
    def _texts(model: OmniVLModel, said: Said) -> Tensor:
        return model.get_text_features(said.ids, said.mask)


def _in_float(keys: Keys) -> Keys:
    return Keys(keys.visual.float(), keys.text.float(), keys.labels)


def matching_loss(model: OmniVLModel, own: Keys, said: Said, seen: Tensor, generator: torch.Generator) -> Tensor | None:
    """The cross-entropy of one pair that belongs together and up to two that do not for each item; None without any.

    own   embeddings of the items and their labels: hard negatives are drawn by their likeness among other labels
    seen  [items, visual tokens, width] of the visual encoder
    """
    groups = same_groups(own.labels, said.own, said.ids)
    with torch.no_grad(), torch.autocast(seen.device.type, enabled=False):
        likeness = own.visual.float() @ own.text.float().T / model.temperature.float()
    text = hard_negatives(likeness, groups, groups, generator)
    image = hard_negatives(likeness.T, groups, groups, generator)
    with_text, with_image = (text >= 0).nonzero()[:, 0], (image >= 0).nonzero()[:, 0]
    if not len(with_text) + len(with_image):
        return None
    every = torch.arange(len(said), device=seen.device)
    texts = torch.cat([every, text[with_text], with_image])
    images = torch.cat([every, with_text, image[with_image]])
    logits = model.match(said.ids[texts], said.mask[texts], seen[images])
    belongs = (torch.arange(len(texts), device=seen.device) < len(said)).long()
    return nn.functional.cross_entropy(logits.float(), belongs)


def captions_loss(model: OmniVLModel, said: Said, seen: Tensor) -> Tensor:
    """The mean cross-entropy of the next token of texts, for a decoder that looks at what was seen."""
    return next_token_loss(model.predict_tokens(said.ids, said.mask, seen), said.ids, said.mask)


def answers_loss(model: OmniVLModel, said: Said, seen: Tensor) -> Tensor:
    """The mean cross-entropy of the next token of answers, for a decoder that looks at questions and images fused."""
    fused = model.fuse(said.ids, said.mask, seen)
    logits = model.predict_tokens(said.answers, said.answers_mask, fused, said.mask)
    return next_token_loss(logits, said.answers, said.answers_mask)


def next_token_loss(logits: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    """The mean cross-entropy of tokens behind the first that are no padding: logits at t are of the token at t + 1."""
    wanted = mask[:, 1:].bool()
    return nn.functional.cross_entropy(logits[:, :-1][wanted].float(), ids[:, 1:][wanted])


def same_groups(labels: Tensor, own: Tensor, ids: Tensor) -> Tensor:
    """[items] int64, equal for items that cannot be negatives of each other: of one label, of one image or video, of
    one text, or all in turn, such as two captions of an image, of which one is another image's, too.

    labels, own  [items], see Said: an image that has a caption and a class is in two rows of other labels
    ids          [items, tokens]
    """
    texts = torch.unique(ids, dim=0, return_inverse=True)[1]
    same = torch.stack([one[:, None] == one[None] for one in (labels, own, texts)]).any(dim=0)
    groups = torch.arange(len(labels), device=labels.device)
    while True:  # the lowest number of a group spreads by a step each time
        lower = torch.where(same, groups[None], len(labels)).amin(dim=1)
        if torch.equal(lower, groups):
            return groups
        groups = lower
