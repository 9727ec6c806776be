"""The sizes of an OmniVL model and the tokens that have a meaning of their own."""

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import BlipTextConfig, PreTrainedConfig, ViTConfig


@strict
class OmniVLVisionConfig(ViTConfig):  # type: ignore[misc]
    """A ViT that looks at videos, too.

    num_frames            of the videos that time embeddings are made for; others are interpolated
    tubelet_size          frames that a patch of a video spans
    space_time_attention  "divided" (TimeSformer: over time, then over space) or "joint" over all patches of all frames
    """

    model_type = "omnivl_vision"
    base_config_key = "vision_config"

    image_size: int = 224  # type: ignore[assignment]
    patch_size: int = 16  # type: ignore[assignment]
    num_frames: int = 8
    tubelet_size: int = 1
    space_time_attention: str = "divided"

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if self.space_time_attention not in ("divided", "joint"):
            raise ValueError(f"space_time_attention: expected divided or joint, got {self.space_time_attention!r}.")
        if self.tubelet_size < 1 or self.num_frames < 1 or self.num_frames % self.tubelet_size:
            raise ValueError(
                f"num_frames: expected a multiple of tubelet_size {self.tubelet_size}, got {self.num_frames}."
            )
        if self.image_size % self.patch_size:
            raise ValueError(f"image_size: expected a multiple of patch_size {self.patch_size}, got {self.image_size}.")


@strict
class OmniVLConfig(PreTrainedConfig):  # type: ignore[misc]
    """An OmniVL model: a visual encoder and three stacks of BERT layers of one size.

    vision_config, text_config  of OmniVLVisionConfig and BlipTextConfig, whose layers are BERT's
    projection_dim              numbers in an embedding, which images, videos and texts share
    enc_token_id                stands in the place of the first token of a text that the alignment decoder matches
    dec_token_id                begins a text that the generation decoder writes; text_config.sep_token_id ends it
    trained_on                  of "captions", "labels" and "questions" those that it has seen; None: it is not known

    Hidden sizes of vision and text must be equal, as the paper's ViT-B and BERT-base are: the generation decoder
    looks at images and, to answer a question, at what the alignment decoder made of both.
    """

    model_type = "omnivl"
    sub_configs_defaults = {"vision_config": OmniVLVisionConfig, "text_config": BlipTextConfig}  # type: ignore[dict-item]  # noqa: RUF012

    vision_config: Any = None
    text_config: Any = None
    projection_dim: int = 256
    enc_token_id: int = 30523
    dec_token_id: int = 30522
    trained_on: Any = None
    initializer_range: float = 0.02
    tie_word_embeddings: bool = True

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        vision, text = self.vision_config, self.text_config
        if vision.hidden_size != text.hidden_size:
            raise ValueError(
                f"text_config: expected hidden_size {vision.hidden_size} as of vision_config, got {text.hidden_size}."
            )
        for name in ("enc_token_id", "dec_token_id"):
            if not 0 <= getattr(self, name) < text.vocab_size:
                raise ValueError(
                    f"{name}: expected one of {text.vocab_size} tokens of text_config, got {getattr(self, name)}."
                )
        text.encoder_hidden_size = text.hidden_size
        text.bos_token_id, text.eos_token_id = self.dec_token_id, text.sep_token_id
