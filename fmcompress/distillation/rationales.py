"""Reasons and labels from a teacher: it is asked once for each input, and what it says is parsed or counted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..language_model import LanguageModel, Recorded
from .completions import with_teacher
from .examples import SPLITS, Example
from .prompts import Template, template_of
from .tasks import Task

ASKED_AT_ONCE = 16


@dataclass(frozen=True)
class Asking:
    """How a teacher is asked.

    splits       rows to ask for; all by default
    limit        rows of a split at most, the first ones; 0 is all
    max_tokens   of a completion
    temperature  0 takes the likeliest token each time
    samples      completions of an input; their most frequent label is taken, with the first completion that gives it.
                 More than 1 needs a temperature
    seed         of what is drawn

    Raises ConfigError for a value that means nothing.
    """

    splits: tuple[str, ...] = ()
    limit: int = 0
    max_tokens: int = 256
    temperature: float = 0.0
    samples: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for one in self.splits:
            if one not in SPLITS:
                raise ConfigError(f"split: expected one of {', '.join(SPLITS)}, got {one!r}.")
        if self.limit < 0:
            raise ConfigError(f"limit: expected 0 or more, got {self.limit}.")
        if self.samples > 1 and self.temperature == 0:
            raise ConfigError("samples: without a temperature all are the same. Give a temperature, such as 0.7.")

    def chosen(self, examples: Sequence[Example]) -> list[int]:
        """Numbers of the examples to ask for. Raises ConfigError if there is none."""
        seen: dict[str | None, int] = {}
        found = []
        for number, one in enumerate(examples):
            if not self.splits or one.split in self.splits:
                seen[one.split] = seen.get(one.split, 0) + 1
                if not self.limit or seen[one.split] <= self.limit:
                    found.append(number)
        if not found:
            raise ConfigError(f"split: no example is of {' or '.join(self.splits) or 'any'}. Choose others.")
        return found


def ask_teacher(
    examples: Sequence[Example],
    task: Task,
    model: LanguageModel,
    asking: Asking | None = None,
    *,
    template: Template | None = None,
    record: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Example]:
    """The examples with completion, rationale and teacher_label of a teacher, or the reason why it gave none.

    Those that it is not asked for keep input, label and split alone, so that no reason of a person is taken for its.

    template  how it is asked; the task's own if None
    record    JSON lines to which its answers are appended as they come; a run that was stopped goes on with them
    progress  called with (inputs done, inputs in all)

    Raises LanguageModelError if the model cannot be asked; what was recorded stays.
    """
    asking, template = asking or Asking(), template or template_of(task)
    numbers = asking.chosen(examples)
    prompts = [template.prompt(examples[number].input) for number in numbers]
    settings: dict[str, Any] = {
        name: getattr(asking, name) for name in ("max_tokens", "temperature", "samples", "seed")
    }
    settings["stop"] = task.ends
    if hasattr(model, "missing_prompts"):  # a file: all that it lacks is told at once, and there is nothing to record
        model.generate(prompts, **settings)
    elif record:
        model = Recorded(model, record)
    answered: dict[int, list[str]] = {}
    for begin in range(0, len(numbers), ASKED_AT_ONCE):
        progress(begin, len(numbers))
        some = slice(begin, begin + ASKED_AT_ONCE)
        answered.update(zip(numbers[some], model.generate(prompts[some], **settings), strict=True))
    progress(len(numbers), len(numbers))
    return [_voted(replace(one, completion=None), task, answered.get(n, [])) for n, one in enumerate(examples)]


def keep_right(examples: Sequence[Example], task: Task) -> tuple[list[Example], int]:
    """The examples, without the reasons that a teacher gave for a wrong label, and how many these are.

    Its labels stay. Where nobody knows the label, nothing is dropped.
    """

    def wrong(one: Example) -> bool:
        known = one.rationale is not None and one.teacher_label is not None and one.label is not None
        return known and not task.right(str(one.teacher_label), str(one.label))

    kept = [replace(one, rationale=None) if wrong(one) else one for one in examples]
    return kept, sum(map(wrong, examples))


def summary(examples: Sequence[Example]) -> dict[str, int]:
    """Counts of rows, of those with a rationale, with a teacher's label, and of which neither parsed."""
    return {
        "rows": len(examples),
        "with_rationale": sum(one.rationale is not None for one in examples),
        "with_teacher_label": sum(one.teacher_label is not None for one in examples),
        "unparsed": sum(one.unparsed is not None for one in examples),
    }


def _voted(example: Example, task: Task, completions: Sequence[str]) -> Example:
    """The example as most of the completions have it; of as many, as the first has it."""
    if not completions:
        return with_teacher(example, task)
    read = [with_teacher(replace(example, completion=text), task) for text in completions]
    labels = [one.teacher_label for one in read if one.teacher_label is not None]

    def votes(one: Example) -> int:
        return 0 if one.teacher_label is None else sum(task.right(label, one.teacher_label) for label in labels)

    return max(read, key=votes)  # the first of equals
