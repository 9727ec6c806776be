"""What a reasoner has done: each step with what it was drawn from, and how it ended."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import TraceError, in_one_line
from .problem import UNKNOWN, Step

ANSWERED = "answered"
NO_PROGRESS = "no progress"  # a step said nothing new
STATES = (ANSWERED, UNKNOWN, NO_PROGRESS)  # UNKNOWN: not answered within the steps that were allowed

Checker = Callable[[Sequence[str], str], bool]  # selected sentences, inference -> whether it follows


@dataclass(frozen=True)
class TraceStep(Step):
    """A step, and how likely it was.

    score  of the selection, as the selector counts: the sum of log probabilities unless told otherwise
    value  of the trace up to here; None without a value model
    """

    score: float = 0.0
    value: float | None = None


@dataclass(frozen=True)
class Trace:
    """A run of a reasoner, whole.

    context   statements; number n is the n-th of them from 0 on, then the inferences of the steps
    answer    UNKNOWN unless the state is ANSWERED
    state     ANSWERED, UNKNOWN (the allowed steps were used up) or NO_PROGRESS
    reason    for the state, in words
    scores    (text, log probability) of all that the answer was held against at the end
    """

    context: tuple[str, ...]
    question: str
    steps: tuple[TraceStep, ...]
    answer: str
    state: str
    reason: str = ""
    choices: tuple[str, ...] = ()
    scores: tuple[tuple[str, float], ...] = ()

    @property
    def statements(self) -> tuple[str, ...]:
        """All that numbers can mean: the context, then the inferences."""
        return (*self.context, *(step.inference for step in self.steps))

    def sentences(self, step: Step) -> tuple[str, ...]:
        """What a step was drawn from."""
        return tuple(self.statements[number] for number in step.selection)

    def support(self) -> tuple[int, ...]:
        """Numbers of all statements that the last inference rests on, itself included; rising. Of a valid trace."""
        waiting = [len(self.context) + len(self.steps) - 1] if self.steps else []
        found: set[int] = set()
        while waiting:
            number = waiting.pop()
            if number not in found:
                found.add(number)
                if number >= len(self.context):
                    waiting += self.steps[number - len(self.context)].selection
        return tuple(sorted(found))

    def validate(self, checker: Checker | None = None) -> None:
        """Check that every step is drawn from statements of the context or inferences before it, and the ending.

        checker  says whether an inference follows from the selected sentences, where one can tell

        Raises TraceError that names the first step that does not hold.
        """
        for number, text in enumerate(self.context):
            _one_statement(f"statement number {number}", text)
        for at, step in enumerate(self.steps):
            check_selection(step.selection, len(self.context), at)
            _one_statement(f"step {at + 1}: inference", step.inference)
            if checker and not checker(self.sentences(step), step.inference):
                said = " and ".join(repr(in_one_line(one, 80)) for one in self.sentences(step))
                raise TraceError(f"step {at + 1}: {in_one_line(step.inference, 80)!r} does not follow from {said}.")
        self._check_end()

    def _check_end(self) -> None:
        if self.state not in STATES:
            raise TraceError(f"state: expected {', '.join(STATES)}, got {in_one_line(self.state, 40)!r}.")
        if self.state != ANSWERED:
            if self.answer != UNKNOWN:
                got = in_one_line(repr(self.answer), 80)
                raise TraceError(f"answer: expected {UNKNOWN!r} where the state is {self.state!r}, got {got}.")
        elif not self.steps or not self.answer.strip():
            raise TraceError(f"state: expected a step and an answer where it is {ANSWERED!r}, and one is missing.")
        elif self.choices and self.answer not in self.choices:
            choices = in_one_line(", ".join(self.choices), 160)
            raise TraceError(f"answer: expected one of {choices}, got {in_one_line(self.answer, 80)!r}.")

    def as_dict(self) -> dict[str, Any]:
        """For JSON, which has no infinities: a score of minus infinity becomes null."""
        return {
            "context": list(self.context),
            "question": self.question,
            "choices": list(self.choices),
            "steps": [
                {
                    "selection": list(step.selection),
                    "inference": step.inference,
                    "score": written(step.score),
                    **({} if step.value is None else {"value": written(step.value)}),
                }
                for step in self.steps
            ],
            "answer": self.answer,
            "state": self.state,
            "reason": self.reason,
            "support": list(self.support()),
            "scores": [[text, written(score)] for text, score in self.scores],
        }

    def to_json(self) -> str:
        """One JSON document, which read_trace() reads again."""
        return json.dumps(self.as_dict(), indent=1)


def check_selection(selection: Sequence[int], context: int, before: int) -> None:
    """Check that a step is drawn from different statements: of so many of the context, and inferences before it.

    Raises TraceError.
    """
    step, known = f"step {before + 1}", context + before
    if not selection:
        raise TraceError(f"{step}: expected statements that it is drawn from, got none.")
    for number in selection:
        if type(number) is not int or not 0 <= number < known:
            told = f"{context} of the context and {before} inferred before"
            raise TraceError(f"{step}: expected numbers of statements below {known} ({told}), got {number!r}.")
    if len(set(selection)) < len(selection):
        raise TraceError(f"{step}: selects a statement twice, got {list(selection)}.")


def _one_statement(what: str, text: str) -> None:
    if not text.strip() or "\n" in text:
        raise TraceError(f"{what}: expected a statement in one line, got {in_one_line(repr(text), 80)}.")


def written(score: float) -> float | None:
    """A score for JSON, which has no infinities: null in the place of minus infinity."""
    return score if math.isfinite(score) else None
