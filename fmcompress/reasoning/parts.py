"""The parts that a reasoner is put together from, and what they hand to each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class Selected:
    """One step's selection.

    numbers  of statements, in the order in which they were chosen; each once. None at all says: nothing fits
    score    the sum of their log probabilities, or of what the selector makes of them; 0 where no model was asked
    """

    numbers: tuple[int, ...]
    score: float = 0.0


@dataclass(frozen=True)
class Answer:
    """What a halter says.

    text    one of the choices, or free where there are none
    scores  (text, log probability) of everything that it was held against
    """

    text: str
    scores: tuple[tuple[str, float], ...] = ()


class Selector(Protocol):
    """Chooses what the next step is drawn from."""

    def select(self, statements: Sequence[str], question: str) -> Selected:
        """Of the context's statements, followed by all inferences so far."""
        ...


@runtime_checkable
class BeamSelector(Selector, Protocol):
    """A selector that can name more than its first choice, as a beam needs."""

    def candidates(self, statements: Sequence[str], question: str, width: int) -> list[Selected]:
        """Up to `width` different selections, the best first."""
        ...


class Inferrer(Protocol):
    """Says what follows from a selection."""

    def infer(self, sentences: Sequence[str]) -> str:
        """One statement, from the selected sentences alone."""
        ...


class Halter(Protocol):
    """Says when enough is known, and answers."""

    def halt(self, question: str, inferences: Sequence[str], choices: Sequence[str]) -> Answer | None:
        """The answer, or None where more has to be known. Asked after each step.

        inferences  of all steps so far, at least one
        choices     what the answer is one of; none for an open question
        """
        ...


class Value(Protocol):
    """Says how good a trace is so far: what a beam keeps."""

    def value(self, question: str, selections: Sequence[Sequence[str]], inferences: Sequence[str]) -> float:
        """Higher is better.

        selections  the selected sentences of each step
        inferences  of each step
        """
        ...
