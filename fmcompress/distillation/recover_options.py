"""The options of `fmcompress recover`."""

from pydantic import BaseModel, ConfigDict, Field, model_validator


class RecoverOptions(BaseModel):
    """Everything that decides what a pruned model learns.

    teacher         folder of the dense parent, or of any model of the same tokens
    text, logits    what is learned: a text, or the file that `fmcompress distill logits` made of one
    valid           held-out text; by default the last `valid_share` of the windows of what is learned
    learning_rate   None: 0.128 / width, 1e-3 at most
    teacher_weight  of the teacher's logits in the loss; the rest is that of the text itself
    valid_every     steps between two looks at the held-out text; None: a tenth of the steps
    include, exclude  regular expressions over the names of parameters: what learns
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    teacher: str | None = None
    text: str | None = None
    logits: str | None = None
    valid: str | None = None
    sequence_length: int = Field(512, ge=2)
    max_windows: int | None = Field(None, ge=1)
    steps: int = Field(500, ge=1)
    batch_size: int = Field(8, ge=1)
    learning_rate: float | None = Field(None, gt=0, allow_inf_nan=False)
    temperature: float = Field(1.0, gt=0, allow_inf_nan=False)
    teacher_weight: float = Field(1.0, ge=0, le=1)
    valid_share: float = Field(0.1, gt=0, lt=1)
    valid_windows: int = Field(64, ge=1)
    valid_every: int | None = Field(None, ge=1)
    include: str | None = None
    exclude: str | None = None
    seed: int = Field(0, ge=0)
    save_every: int = Field(100, ge=1)

    @model_validator(mode="after")
    def _fits(self) -> "RecoverOptions":
        if (self.text is None) == (self.logits is None):
            raise ValueError("text, logits: expected one of the two to learn from. Give --text FILE or --logits FILE")
        if self.teacher is None and self.text is not None:
            raise ValueError("teacher: expected the dense parent's folder. Give --teacher DENSE")
        if self.logits is not None and {"sequence_length", "temperature"} & self.model_fields_set:
            raise ValueError("sequence-length, temperature: the file of --logits has its own. Leave them out")
        return self
