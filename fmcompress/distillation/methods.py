"""What a student learns of an example under each method: rows of prompts and completions, and how they weigh."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ..errors import ConfigError
from ..training.text_rows import Row
from .examples import Example

Method = Literal["fine-tuning", "distillation", "step-by-step", "rationale-then-label", "logits"]
Labels = Literal["gold", "teacher"]
# those that need no teacher in memory, as "logits" does
METHODS: tuple[Method, ...] = ("fine-tuning", "distillation", "step-by-step", "rationale-then-label")
LABEL, RATIONALE = "label", "rationale"  # parts of the loss
ANSWER = "So the answer is"  # between a rationale and a label in one text
PREFIXES = ("predict: ", "explain: ")  # those of the paper's code
SEPARATOR = "\nAnswer:"  # after the input, for a student without an encoder


@dataclass(frozen=True)
class StudentPrompts:
    """How a student is asked, in training and ever after.

    label_prefix, rationale_prefix  before an input, which say what is wanted of it
    separator                       after it; "" for a student with an encoder, which knows where its input ends
    single                          one completion is both: a rationale, then "So the answer is" and the label
    """

    label_prefix: str = PREFIXES[0]
    rationale_prefix: str = PREFIXES[1]
    separator: str = ""
    single: bool = False

    def label_prompt(self, asked: str) -> str:
        """What asks for a label."""
        return f"{self.label_prefix}{asked}{self.separator}"

    def rationale_prompt(self, asked: str) -> str:
        """What asks for a rationale."""
        return f"{self.rationale_prefix}{asked}{self.separator}"

    def completion(self, text: str) -> str:
        """What is to be written: after a separator that ends in a letter or a mark, with a space before it."""
        return f" {text}" if self.separator and not self.separator[-1].isspace() else text

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Rows:
    """What there is to learn.

    examples  the rows of each example that has any, those of one input together
    weights   by part of the loss
    counts    examples; rows of each part; and those that are without what the method needs, by what it is
    """

    examples: list[tuple[Row, ...]]
    weights: dict[str, float]
    counts: dict[str, int]


def weights_of(method: Method, alpha: float = 0.5, rationale_weight: float | None = None) -> dict[str, float]:
    """How the parts of the loss weigh.

    alpha             alpha · label + (1 - alpha) · rationale, as the paper's code has it
    rationale_weight  label + rationale_weight · rationale instead, as the paper writes it: with 1 the gradient is twice
                      that of alpha 0.5

    Raises ConfigError for weights that are none.
    """
    if not 0 <= alpha <= 1 or not (rationale_weight is None or 0 <= rationale_weight < float("inf")):
        raise ConfigError(
            f"alpha, rationale weight: expected 0 to 1, and 0 or more, got {alpha} and {rationale_weight}."
        )
    if method != "step-by-step":
        return {LABEL: 1.0}
    return (
        {LABEL: alpha, RATIONALE: 1 - alpha} if rationale_weight is None else {LABEL: 1.0, RATIONALE: rationale_weight}
    )


def label_source(method: Method, labels: Labels | None = None) -> Labels:
    """Whose labels are learned: as asked for, else the teacher's in distillation and the gold ones elsewhere.

    Raises ConfigError for distillation of gold labels and fine-tuning on a teacher's, which go by the other name.
    """
    own: dict[str, Labels] = {"distillation": "teacher", "fine-tuning": "gold"}
    if labels and labels != own.get(method, labels):
        other = "fine-tuning" if method == "distillation" else "distillation"
        raise ConfigError(f"labels: {method} is of {own[method]} labels, got {labels}. Choose --method {other}.")
    return labels or own.get(method, "gold")


def rows_of(
    examples: Iterable[Example],
    method: Method,
    prompts: StudentPrompts,
    *,
    labels: Labels | None = None,
    weights: Mapping[str, float] | None = None,
) -> Rows:
    """The rows of examples under a method; what did not parse is never learned, and counted.

    fine-tuning           the gold label
    distillation          the teacher's label
    step-by-step          the label, and the rationale; an example that has one of them gives that one
    rationale-then-label  both in one completion; an example that lacks one of them gives nothing
    logits                the label, of which a teacher's logits are learned, too

    labels   "gold" or "teacher", see label_source
    weights  see weights_of; parts that weigh 0 have no rows
    """
    source = label_source(method, labels)
    weights = {part: weight for part, weight in (weights or weights_of(method)).items() if weight > 0}
    counts: Counter[str] = Counter()
    found = []
    for example in examples:
        counts["examples"] += 1
        label = _known(example.label if source == "gold" else example.teacher_label)
        rationale = _known(example.rationale)
        counts["without_label"] += label is None
        if RATIONALE in weights or method == "rationale-then-label":
            counts["without_rationale"] += rationale is None
        if method == "rationale-then-label":
            both = None if label is None or rationale is None else f"{rationale} {ANSWER} {label}"
            texts = {LABEL: both}
        else:
            texts = {LABEL: label, RATIONALE: rationale}
        rows = tuple(
            Row(prompt(example.input), prompts.completion(text), part)
            for part, prompt in ((LABEL, prompts.label_prompt), (RATIONALE, prompts.rationale_prompt))
            if part in weights and (text := texts.get(part)) is not None
        )
        counts.update(f"{row.part}_rows" for row in rows)
        counts["left_out"] += not rows
        found += [rows] if rows else []
    return Rows(found, weights, dict(counts))


def label_in(completion: str, prompts: StudentPrompts) -> str | None:
    """The label that a student wrote; None if it should have come after a rationale and does not."""
    text = completion.strip()
    if prompts.single:
        _, said, text = text.rpartition(ANSWER)
        if not said:
            return None
    return text.strip() or None


def _known(text: str | None) -> str | None:
    return None if text is None or not text.strip() else text.strip()
