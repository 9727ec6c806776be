"""OmniVL: a visual encoder, a text encoder, and two decoders that look at images: one matches, one writes."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BlipTextConfig, PreTrainedModel
from transformers import initialization as init
from transformers.models.blip.modeling_blip_text import BlipTextLMHeadModel, BlipTextModel
from transformers.utils.generic import ModelOutput

from .configuration import OmniVLConfig
from .cross_attention import heed_masks_
from .visual_encoder import OmniVLVisualEncoder

TEMPERATURE = 0.07  # at the start, and
LIMITS = (0.001, 0.5)  # between which it stays, as ALBEF has them
WORDS = "generation_decoder.bert.embeddings.word_embeddings.weight"


@dataclass
class OmniVLOutput(ModelOutput):  # type: ignore[misc]
    """What a model says of images or videos and a text for each.

    image_embeds, text_embeds  [items, projection_dim], rows of length 1
    matching_logits            [items, 2]: does not match, matches
    logits                     [items, tokens, vocabulary] of the generation decoder, for the token that comes next
    """

    image_embeds: Tensor | None = None
    text_embeds: Tensor | None = None
    matching_logits: Tensor | None = None
    logits: Tensor | None = None


class OmniVLModel(PreTrainedModel):  # type: ignore[misc]
    """The whole model (Wang et al. 2022), from the paper: no official code exists.

    visual_encoder       images and videos -> hidden states, and an embedding by visual_projection
    text_encoder         BERT -> an embedding by text_projection
    alignment_decoder    BERT with cross-attention to what the visual encoder saw, in both directions of the text;
                         the token [ENC] gathers it, matching_head tells whether text and image belong together
    generation_decoder   the same with causal attention and a head of words; begins at the token [DEC]

    Texts are token ids [CLS] … [SEP], padded at the end; the decoders put their own token in the place of [CLS].
    """

    config: OmniVLConfig
    config_class = OmniVLConfig
    base_model_prefix = ""
    main_input_name = "pixel_values"
    input_modalities = ("image", "video", "text")  # type: ignore[assignment]
    supports_gradient_checkpointing = True
    _no_split_modules = ["SpaceTimeLayer", "BlipTextLayer"]  # noqa: RUF012
    _supports_sdpa = True
    _tied_weights_keys = {  # noqa: RUF012
        "generation_decoder.cls.predictions.decoder.weight": WORDS,
        "generation_decoder.cls.predictions.decoder.bias": "generation_decoder.cls.predictions.bias",
    }

    def __init__(self, config: OmniVLConfig) -> None:
        super().__init__(config)
        vision, text = config.vision_config, config.text_config
        self.visual_encoder = OmniVLVisualEncoder(vision)
        self.text_encoder = BlipTextModel(_text_config(text, cross_attention=False), add_pooling_layer=False)
        self.alignment_decoder = BlipTextModel(_text_config(text, cross_attention=True), add_pooling_layer=False)
        self.generation_decoder = BlipTextLMHeadModel(_text_config(text, cross_attention=True))
        heed_masks_(self.alignment_decoder)
        heed_masks_(self.generation_decoder.bert)
        self.visual_projection = nn.Linear(vision.hidden_size, config.projection_dim)
        self.text_projection = nn.Linear(text.hidden_size, config.projection_dim)
        self.matching_head = nn.Linear(text.hidden_size, 2)
        self.logit_scale = nn.Parameter(torch.tensor(-math.log(TEMPERATURE)))
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Of the text encoder."""
        return self.text_encoder.get_input_embeddings()  # type: ignore[no-any-return]

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Of the text encoder; the decoders have their own."""
        self.text_encoder.set_input_embeddings(value)

    @property
    def temperature(self) -> Tensor:
        """What cosines are divided by: learned as its negative logarithm, as CLIP does, so that no step overshoots."""
        return (-self.logit_scale).exp().clamp(*LIMITS)

    def get_image_features(self, pixel_values: Tensor) -> Tensor:
        """[items, projection_dim], rows of length 1, of images or videos; see OmniVLVisualEncoder."""
        return self.visual_embedding(self.visual_encoder(pixel_values).pooler_output)

    def get_text_features(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """[texts, projection_dim], rows of length 1.

        input_ids, attention_mask  [texts, tokens] int64; without a mask no token is padding
        """
        hidden = self.text_encoder(input_ids, attention_mask=attention_mask).last_hidden_state[:, 0]
        return nn.functional.normalize(self.text_projection(hidden), dim=-1)

    def fuse(
        self, input_ids: Tensor, attention_mask: Tensor | None, visual: Tensor, visual_mask: Tensor | None = None
    ) -> Tensor:
        """Hidden states [texts, tokens, width] of the alignment decoder.

        input_ids, attention_mask  [texts, tokens]
        visual                     [texts, visual tokens, width] of the visual encoder
        """
        return self.alignment_decoder(  # type: ignore[no-any-return]
            self._begun(input_ids, self.config.enc_token_id), attention_mask=attention_mask,
            encoder_hidden_states=visual, encoder_attention_mask=visual_mask, is_decoder=False,
        ).last_hidden_state  # fmt: skip

    def match(self, input_ids: Tensor, attention_mask: Tensor | None, visual: Tensor) -> Tensor:
        """[texts, 2] logits: does not match, matches. Arguments as of fuse()."""
        return self.matching_head(self.fuse(input_ids, attention_mask, visual)[:, 0])  # type: ignore[no-any-return]

    def predict_tokens(
        self, input_ids: Tensor, attention_mask: Tensor | None, seen: Tensor, seen_mask: Tensor | None = None
    ) -> Tensor:
        """[texts, tokens, vocabulary] logits of the token after each, of the generation decoder: causal.

        seen, seen_mask  [texts, visual tokens, width] what it looks at: the visual encoder's hidden states, or those
                         of fuse() with their mask, to answer a question
        """
        return self.generation_decoder(  # type: ignore[no-any-return]
            self._begun(input_ids, self.config.dec_token_id), attention_mask=attention_mask,
            encoder_hidden_states=seen, encoder_attention_mask=seen_mask, use_cache=False,
        ).logits  # fmt: skip

    def forward(
        self, pixel_values: Tensor, input_ids: Tensor, attention_mask: Tensor | None = None, **kwargs: Any
    ) -> OmniVLOutput:
        """All that the model says of images or videos and a text for each.

        pixel_values               see OmniVLVisualEncoder
        input_ids, attention_mask  [items, tokens] int64

        Raises ValueError for pixels of another shape.
        """
        visual = self.visual_encoder(pixel_values)
        text = self.get_text_features(input_ids, attention_mask)
        return OmniVLOutput(
            image_embeds=self.visual_embedding(visual.pooler_output),
            text_embeds=text,
            matching_logits=self.match(input_ids, attention_mask, visual.last_hidden_state),
            logits=self.predict_tokens(input_ids, attention_mask, visual.last_hidden_state),
        )

    @torch.no_grad()
    def generate(
        self, pixel_values: Tensor, input_ids: Tensor | None = None, attention_mask: Tensor | None = None,
        question_ids: Tensor | None = None, question_mask: Tensor | None = None, **settings: Any,
    ) -> Tensor:  # fmt: skip
        """Token ids [items, tokens] that the generation decoder writes: captions, or answers to questions.

        pixel_values                  images or videos; see OmniVLVisualEncoder
        input_ids, attention_mask     [items, tokens] a beginning, of which [CLS] becomes [DEC]; none: [DEC] alone
        question_ids, question_mask   [items, tokens] a question for each; the decoder then looks at what the alignment
                                      decoder made of it and the image
        settings                      of transformers' generate(), such as max_new_tokens and num_beams
        """
        seen, mask = self.visual_encoder(pixel_values).last_hidden_state, None
        if question_ids is not None:
            seen, mask = self.fuse(question_ids, question_mask, seen), question_mask
        return self.write(seen, mask, input_ids, attention_mask, **settings)

    @torch.no_grad()
    def write(
        self, seen: Tensor, seen_mask: Tensor | None = None, input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None, **settings: Any,
    ) -> Tensor:  # fmt: skip
        """What generate() does with what was seen, as predict_tokens() takes it; other arguments as of generate()."""
        if input_ids is None:
            input_ids, attention_mask = torch.zeros(len(seen), 1, dtype=torch.long, device=seen.device), None
        begun = self._begun(input_ids, self.config.dec_token_id)
        text = self.config.text_config
        return self.generation_decoder.generate(  # type: ignore[misc,return-value]
            begun, attention_mask=torch.ones_like(begun) if attention_mask is None else attention_mask,
            encoder_hidden_states=seen, encoder_attention_mask=seen_mask,
            **{"eos_token_id": text.sep_token_id, "pad_token_id": text.pad_token_id, **settings},
        )  # fmt: skip

    def visual_embedding(self, pooled: Tensor) -> Tensor:
        """[items, projection_dim], rows of length 1, of the visual encoder's pooler_output [items, width]."""
        return nn.functional.normalize(self.visual_projection(pooled), dim=-1)

    @staticmethod
    def _begun(input_ids: Tensor, token: int) -> Tensor:
        return torch.cat([torch.full_like(input_ids[:, :1], token), input_ids[:, 1:]], dim=1)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, OmniVLModel):
            init.constant_(module.logit_scale, -math.log(TEMPERATURE))


def _text_config(config: BlipTextConfig, *, cross_attention: bool) -> BlipTextConfig:
    """Of one of the three stacks: BLIP's layers have cross-attention where is_decoder is set."""
    return BlipTextConfig(**{**config.to_dict(), "is_decoder": cross_attention})
