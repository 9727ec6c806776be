"""How often a method of reasoning is right, by depth, and whether its traces hold."""

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import ConfigError
from .build import Method
from .counting import CountingLanguageModel
from .datasets import statement_of
from .english import parse_question
from .following import follows
from .gold import with_proof
from .problem import UNKNOWN, Problem
from .rules import Theory
from .trace import Trace


@dataclass
class Evaluation:
    """Of one method.

    right, asked    by group, such as the depth of the shortest proof, in their order
    states          of traces, by how often
    traces          that were validated: all of a method that leaves some, or a TraceError would have been raised
    checked, sound  inferences that a symbolic checker could judge, and those that follow from their selection
    steps           of all traces
    counts          of what the model was asked; None for a method that asks none
    answers         (name, expected, answered), one a question
    """

    right: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    traces: int = 0
    checked: int = 0
    sound: int = 0
    steps: int = 0
    counts: dict[str, int] | None = None
    answers: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def accuracy(self) -> float:
        """Share of questions that were answered rightly."""
        return self.right.total() / max(1, self.asked.total())

    def as_dict(self) -> dict[str, Any]:
        """For JSON; shares of what there was none of are None."""
        return {
            "accuracy": self.accuracy,
            "questions": self.asked.total(),
            "groups": {
                group: {"accuracy": self.right[group] / asked, "questions": asked}
                for group, asked in self.asked.items()
            },
            "traces": self.traces,
            "states": dict(self.states),
            "mean_steps": self.steps / self.traces if self.traces else None,
            "checked_inferences": self.checked,
            "sound_inferences": self.sound / self.checked if self.checked else None,
            "asked_of_the_model": self.counts,
        }


def evaluate(
    method: Method,
    problems: Sequence[Problem],
    *,
    group: Callable[[Problem], str] | None = None,
    counting: CountingLanguageModel | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Put problems to a method.

    group     names what a problem is counted under; None: depth_of()
    counting  the model that it asks
    progress  is told how many questions of all are answered

    Every trace is validated: it may select what is in the context or was inferred before, and nothing else. Whether
    its inferences follow is counted where statements are in controlled English. Raises TraceError for a trace that is
    not valid, and what the method raises.
    """
    found = Evaluation()
    for done, problem in enumerate(problems, 1):
        reply = method.run(problem.context, problem.question, problem.choices)
        under = (group or depth_of)(problem)
        found.asked[under] += 1
        found.right[under] += is_right(reply.answer, problem)
        found.answers.append((problem.name, problem.answer, reply.answer))
        if isinstance(reply, Trace):
            _add_trace(found, reply)
        if progress:
            progress(done, len(problems))
    found.asked = Counter({under: found.asked[under] for under in sorted(found.asked, key=_natural)})
    found.counts = counting.counts.as_dict() if counting else None
    return found


def _add_trace(found: Evaluation, trace: Trace) -> None:
    trace.validate()
    found.traces += 1
    found.states[trace.state] += 1
    found.steps += len(trace.steps)
    if in_controlled_english(trace.context, trace.question):
        found.checked += len(trace.steps)
        found.sound += sum(follows(trace.sentences(step), step.inference) for step in trace.steps)


def depth_of(problem: Problem) -> str:
    """Steps of the shortest proof, found by the chainer where none is given; UNKNOWN, or "?" where it cannot tell."""
    if problem.answer == UNKNOWN:
        return UNKNOWN
    if problem.depth is not None:
        return str(problem.depth)
    depth = with_proof(problem).depth if in_controlled_english(problem.context, problem.question) else None
    return "?" if depth is None else str(depth)


def in_controlled_english(context: Sequence[str], question: str) -> bool:
    """Whether the chainer can read it."""
    try:
        parse_question(question)
        Theory(context)
    except ConfigError:
        return False
    return True


def is_right(answer: str, problem: Problem) -> bool:
    """Whether it is the problem's answer; where that is open also as a statement, which is what FixedSteps answers."""
    wanted = [problem.answer, *([] if problem.choices else [statement_of(problem.question, problem.answer)])]
    return any(same_answer(answer, one) for one in wanted)


def _natural(group: str) -> tuple[str, int, str]:
    """Sorts "task 2" before "task 15"."""
    words, _, number = group.rpartition(" ")
    return (words, int(number), "") if number.isdecimal() else (words, sys.maxsize, number)


def same_answer(given: str, wanted: str) -> bool:
    """Whether two answers are the same words, whatever their case, articles and full stop."""

    def plain(text: str) -> str:
        words = text.casefold().replace(".", " ").split()
        return " ".join(words[1:] if words[:1] in (["a"], ["an"], ["the"]) else words)

    return plain(given) == plain(wanted)
