"""The options of `fmcompress distill train`: the method, the student, and how it is trained."""

from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .methods import PREFIXES, Labels, Method, label_source


class Size(NamedTuple):
    """A student that begins from nothing, and how fast it learns."""

    width: int
    layers: int
    heads: int
    vocabulary: int
    learning_rate: float


SIZES = {"tiny": Size(64, 2, 4, 1000, 3e-3), "small": Size(256, 4, 4, 4000, 1e-3)}
TRAINED = 5e-5  # the learning rate of a student that was trained before, as the paper's code has it


class TrainOptions(BaseModel):
    """Everything that decides what a training makes of its examples.

    student        folder of a checkpoint, dense or packed; or
    new            the architecture of a new one, of a size, or of a width, layers, heads and vocabulary of its own
    select         "valid": the checkpoint with the most right answers on that split is kept; "last": the last one.
                   None: "valid" where there are labelled examples of that split. Never "test"
    task           by whose measure an answer is right
    logits_teacher folder of the model whose logits are learned by the method "logits", teacher_weight of them in the
                   loss beside the label's tokens, at that temperature
    valid_examples the first so many are asked, at every checkpoint
    model          further fields of T5Config or LlamaConfig, in YAML alone
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    method: Method = "step-by-step"
    labels: Labels | None = None
    alpha: float = Field(0.5, ge=0, le=1)
    rationale_weight: float | None = Field(None, ge=0, allow_inf_nan=False)
    label_prefix: str = PREFIXES[0]
    rationale_prefix: str = PREFIXES[1]
    separator: str | None = None

    logits_teacher: str | None = None
    teacher_weight: float = Field(0.5, ge=0, le=1)
    temperature: float = Field(1.0, gt=0, allow_inf_nan=False)

    student: str | None = None
    keep_zeros: bool = True
    new: Literal["t5", "llama"] | None = None
    size: Literal["tiny", "small"] = "tiny"
    width: int | None = Field(None, ge=8)
    layers: int | None = Field(None, ge=1)
    heads: int | None = Field(None, ge=1)
    vocabulary: int | None = Field(None, ge=300)
    dropout: float = Field(0.0, ge=0, lt=1)
    model: dict[str, Any] = {}

    fraction: float = Field(1.0, gt=0, le=1)
    steps: int = Field(1000, ge=1)
    batch_size: int = Field(64, ge=1)
    micro_batch: int | None = Field(None, ge=1)
    learning_rate: float | None = Field(None, gt=0, allow_inf_nan=False)
    weight_decay: float = Field(0.0, ge=0, allow_inf_nan=False)
    warmup: float = Field(0.1, ge=0, lt=1)
    longest_input: int | None = Field(1024, ge=1)
    longest_output: int | None = Field(256, ge=1)
    seed: int = Field(0, ge=0)
    save_every: int = Field(200, ge=1)

    select: Literal["valid", "last"] | None = None
    task: str = "text"
    valid_examples: int = Field(500, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _never_test(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("select") == "test":
            raise ValueError(
                "select: a checkpoint chosen on the test split tells nothing any more. Choose on valid, or the last one"
            )
        return values

    @model_validator(mode="after")
    def _fits(self) -> "TrainOptions":
        if (self.student is None) == (self.new is None):
            raise ValueError("student, new: expected a folder to begin with or the architecture of a new one. Give one")
        sizes = ("size", "width", "layers", "heads", "vocabulary", "dropout", "model")
        given = [name for name in sizes if name in self.model_fields_set]
        if self.student is not None and given:
            raise ValueError(f"student: it has its sizes. Leave out {', '.join(given)}")
        if self.rationale_weight is not None and "alpha" in self.model_fields_set:
            raise ValueError("alpha, rationale-weight: both say how the parts weigh. Give one")
        if self.label_prefix == self.rationale_prefix and self.method == "step-by-step":
            raise ValueError("label-prefix, rationale-prefix: expected two that differ, so that a student knows them")
        if (self.method == "logits") != (self.logits_teacher is not None):
            raise ValueError(
                "logits-teacher: the method logits, and no other, learns from a model's logits. Give its folder"
            )
        if self.logits_teacher is not None and self.new is not None:
            raise ValueError("new: its tokenizer is made anew, no teacher has it. Give a --student of the same tokens")
        label_source(self.method, self.labels)
        return self

    @property
    def sizes(self) -> dict[str, Any]:
        """What new_model is given."""
        size = SIZES[self.size]
        return {
            "width": self.width or size.width, "layers": self.layers or size.layers,
            "heads": self.heads or size.heads, "dropout": self.dropout, **self.model,
        }  # fmt: skip

    @property
    def rate(self) -> float:
        """The highest learning rate."""
        if self.learning_rate is not None:
            return self.learning_rate
        return TRAINED if self.student is not None else SIZES[self.size].learning_rate

    @property
    def origin(self) -> Path | None:
        """The folder to begin with."""
        return None if self.student is None else Path(self.student)
