"""A question about given statements, and the steps that lead to its answer."""

from dataclasses import dataclass

UNKNOWN = "unknown"  # the answer that no statement gives


@dataclass(frozen=True)
class Step:
    """Statements that were selected, and the one that follows from them.

    selection  numbers of statements: those of the context from 0 on, then the inferences of earlier steps
    inference  a sentence
    """

    selection: tuple[int, ...]
    inference: str


@dataclass(frozen=True)
class Problem:
    """One question.

    context   statements, a sentence each
    question  a sentence
    answer    the right one
    choices   what answers are to be chosen from; none for an open question
    depth     steps of the shortest proof; None if it is not known
    proof     those of one proof; None if it is not known, and empty where the answer is unknown
    name      where it comes from
    """

    context: tuple[str, ...]
    question: str
    answer: str
    choices: tuple[str, ...] = ()
    depth: int | None = None
    proof: tuple[Step, ...] | None = None
    name: str = ""
