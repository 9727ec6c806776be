"""The options of `fmcompress omnivl train`: of the model that begins, and of how it is trained."""

from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Size(NamedTuple):
    """A model that begins: the layers of all four stacks, what they are given, and how fast they learn."""

    layers: dict[str, int]
    image_size: int
    patch_size: int
    projection_dim: int
    vocabulary: int
    longest: int
    learning_rate: float
    initializer_range: float  # of narrow models 1 / sqrt(width): with BERT's 0.02 they learn several times more slowly
    momentum: float  # 0 where some thousand steps are all: a slow second model has not learned by then


def _layers(width: int, count: int, heads: int) -> dict[str, int]:
    named = {"hidden_size": width, "num_hidden_layers": count, "num_attention_heads": heads}
    return {**named, "intermediate_size": 4 * width}


SIZES = {
    "tiny": Size(_layers(64, 2, 4), 32, 8, 64, 1000, 32, 1e-3, 0.125, 0.0),
    "small": Size(_layers(256, 6, 4), 112, 16, 128, 8000, 48, 5e-4, 0.0625, 0.0),
    # ViT-B/16 and BERT-base, as the paper has them
    "base": Size(_layers(768, 12, 12), 224, 16, 256, 30522, 64, 1e-4, 0.02, 0.995),
}


def size_like(width: int) -> Size:
    """The largest size that is not wider than a model's hidden states, and so what such a model is trained by."""
    fitting = [size for size in SIZES.values() if size.layers["hidden_size"] <= width]
    return fitting[-1] if fitting else SIZES["tiny"]


BEGINNING = ("size", "vision", "text", "projection_dim", "vocabulary", "vision_init", "text_init")


class TrainOptions(BaseModel):
    """Everything that decides what a training makes of its pairs.

    vision, text  fields of OmniVLVisionConfig and BlipTextConfig that differ from those of the size, in YAML alone
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Literal["tiny", "small", "base"] = "tiny"
    vision: dict[str, Any] = {}
    text: dict[str, Any] = {}
    projection_dim: int | None = Field(None, ge=1)
    vocabulary: int | None = Field(None, ge=300)
    vision_init: str | None = None
    text_init: str | None = None
    start: str | None = Field(None, alias="from")
    image_steps: int | None = Field(None, ge=0)
    joint_steps: int | None = Field(None, ge=0)
    video_share: float = Field(0.5, gt=0, le=1)
    frames: int | None = Field(None, ge=1, le=1024)
    batch_size: int = Field(64, ge=1)
    learning_rate: float | None = Field(None, gt=0, allow_inf_nan=False)
    weight_decay: float = Field(0.02, ge=0, allow_inf_nan=False)
    contrast: Literal["univlc", "plain"] = "univlc"
    reduction: Literal["mean_pos", "sum_pos"] = "mean_pos"
    momentum: float | None = Field(None, ge=0, le=1)
    bank: int | None = Field(None, ge=0)
    decoder_rows: int | None = Field(None, ge=1)
    seed: int = Field(0, ge=0)
    save_every: int = Field(200, ge=1)

    @model_validator(mode="after")
    def _begins_once(self) -> "TrainOptions":
        given = [name for name in BEGINNING if name in self.model_fields_set]
        if self.start is not None and given:
            names = ", ".join(name.replace("_", "-") for name in given)
            raise ValueError(f"from: its model has its sizes. Leave out {names}")
        if self.image_steps == 0 and self.joint_steps == 0:
            raise ValueError("image-steps, joint-steps: both are 0, so that nothing is learned. Give steps to one")
        return self
