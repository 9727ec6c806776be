"""A student's answers beside the right ones: accuracy a split, and what did not parse."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import CalibrationError, ConfigError
from ..language_model import LanguageModel
from ..training.folder import FACTS, read_facts
from .examples import Example
from .methods import StudentPrompts, label_in
from .tasks import Task

LABEL_TOKENS, RATIONALE_TOKENS = 64, 256  # of an answer at most; the paper's code ends rationales at 64, too
TOGETHER = 256  # prompts handed over at once

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Answer:
    """What a student said of an example.

    completion  as it came
    label       what was read from it; None if nothing was
    unparsed    why label is none, or cannot be right whatever the question is; None if it can
    right       None for an example without a label
    rationale   None if nobody asked for it
    """

    example: Example
    completion: str
    label: str | None
    unparsed: str | None
    right: bool | None
    rationale: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON: what was asked and what was said, without what is None."""
        told = {
            "input": self.example.input, "split": self.example.split, "gold": self.example.label,
            "answer": self.label, "right": self.right, "unparsed": self.unparsed,
            "rationale": self.rationale, "completion": self.completion,
        }  # fmt: skip
        return {name: value for name, value in told.items() if value is not None}


def answers_of(
    model: LanguageModel,
    examples: Sequence[Example],
    task: Task,
    prompts: StudentPrompts,
    *,
    rationales: bool = False,
    max_tokens: int | None = None,
    progress: Progress | None = None,
) -> Iterator[Answer]:
    """Ask for the label of each example, and for a rationale where that is wanted; greedily, in order.

    max_tokens  of a label; by default 64, or 256 where a rationale comes before it. Rationales have 256
    """
    room = max_tokens or (RATIONALE_TOKENS if prompts.single else LABEL_TOKENS)
    for begin in range(0, len(examples), TOGETHER):
        some = examples[begin : begin + TOGETHER]
        said = model.generate([prompts.label_prompt(one.input) for one in some], max_tokens=room)
        reasons: list[str | None] = [None] * len(some)
        if prompts.single:
            reasons = [text.strip() for (text,) in said]
        elif rationales:
            wanted = [prompts.rationale_prompt(one.input) for one in some]
            reasons = [text.strip() for (text,) in model.generate(wanted, max_tokens=RATIONALE_TOKENS)]
        for one, (completion,), reason in zip(some, said, reasons, strict=True):
            yield _answer(one, completion, reason if rationales else None, task, prompts)
        if progress:
            progress(begin + len(some), len(examples))


def share_of_right(model: LanguageModel, examples: Sequence[Example], task: Task, prompts: StudentPrompts) -> float:
    """Of all labelled examples. Raises CalibrationError if there are none."""
    return float(report_of(list(answers_of(model, examples, task, prompts)))["accuracy"])


def report_of(answers: Sequence[Answer]) -> dict[str, Any]:
    """Of all answers to labelled examples and of each split: examples, right, accuracy, unparsed.

    Raises CalibrationError if no example has a label.
    """
    known = [answer for answer in answers if answer.right is not None]
    if not known:
        raise CalibrationError("examples: none has a label to compare an answer with.")
    splits = dict.fromkeys(answer.example.split or "none" for answer in known)
    parts = {split: [one for one in known if (one.example.split or "none") == split] for split in splits}
    return {
        **_counted(known), "without_label": len(answers) - len(known),
        "splits": {split: _counted(part) for split, part in parts.items()},
    }  # fmt: skip


def prompts_in(folder: Path) -> tuple[StudentPrompts, str]:
    """How a student's folder says that it is asked, and its task. Raises ConfigError if it does not."""
    try:
        facts = read_facts(folder)
        return StudentPrompts(**facts["prompts"]), str(facts["task"])
    except (ConfigError, KeyError, TypeError):
        raise ConfigError(
            f"{folder}: has no {FACTS} that says how its student is asked. Use --asked-like with the folder that "
            "distill train wrote."
        ) from None


def _answer(example: Example, completion: str, rationale: str | None, task: Task, prompts: StudentPrompts) -> Answer:
    label = label_in(completion, prompts)
    unparsed = "no answer" if label is None else task.flaw(label, example.input)
    right = None
    if example.label is not None:
        right = label is not None and task.right(label, example.label)
    return Answer(example, completion, label, unparsed, right, rationale)


def _counted(answers: Sequence[Answer]) -> dict[str, Any]:
    right = sum(bool(answer.right) for answer in answers)
    unparsed = sum(answer.unparsed is not None for answer in answers)
    return {"examples": len(answers), "right": right, "accuracy": right / len(answers), "unparsed": unparsed}
