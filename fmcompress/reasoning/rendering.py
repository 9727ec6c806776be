"""Answers and traces as lines of text. Statements are a stranger's: control characters are spelt out."""

from collections.abc import Iterable, Sequence

from ..report import printable
from .baselines import Reply
from .problem import UNKNOWN
from .trace import ANSWERED, Trace


def trace_lines(trace: Trace, explain: bool = False) -> list[str]:
    """A trace for a person, who counts statements from 1.

    explain  the statements, each step as "because … therefore …", and what the answer rests on; else the answer alone
    """
    if not explain:
        return [_answer(trace)]
    return [
        f"Question: {printable(trace.question)}",
        "",
        *(_numbered(number, text) for number, text in enumerate(trace.context)),
        *_steps(trace),
        "",
        *([f"Scores: {_scores(trace.scores)}"] if trace.scores else []),
        _answer(trace),
        f"Rests on: {_rests_on(trace)}",
    ]


def reply_lines(reply: Reply, explain: bool = False) -> list[str]:
    """An answer of a baseline for a person.

    explain  with the chains of thought and the votes, or the scores of the choices
    """
    lines = [f"Answer: {printable(reply.answer)}"]
    if not explain:
        return lines
    chains = [f"Chain {number}: {printable(chain.strip())}" for number, chain in enumerate(reply.chains, 1)]
    scores = [f"Scores: {_scores(reply.scores)}"] if reply.scores else []
    votes = [f"{count} for {printable(answer)}" for answer, count in reply.votes]
    return [*chains, *scores, *([f"Votes: {', '.join(votes)}"] if len(reply.chains) > 1 else []), *lines]


def _steps(trace: Trace) -> Iterable[str]:
    for at, step in enumerate(trace.steps):
        value = "" if step.value is None else f", value {step.value:.2f}"
        yield ""
        yield f"Step {at + 1} (score {step.score:.2f}{value})"
        for turn, (number, text) in enumerate(zip(step.selection, trace.sentences(step), strict=True)):
            yield f"  {'and' if turn else 'because':9} {_numbered(number, text)}"
        yield f"  {'therefore':9} {_numbered(len(trace.context) + at, step.inference)}"


def _answer(trace: Trace) -> str:
    if trace.state == ANSWERED:
        return f"Answer: {printable(trace.answer)}"
    state = "" if trace.state == UNKNOWN else f"{trace.state}: "
    return f"Answer: {UNKNOWN} ({state}{printable(trace.reason)})"


def _rests_on(trace: Trace) -> str:
    support = [number + 1 for number in trace.support() if number < len(trace.context)]
    if not support:
        return "nothing"
    unused = len(trace.context) - len(support)
    return f"statements {', '.join(map(str, support))} of {len(trace.context)} ({unused} not used)"


def _numbered(number: int, text: str) -> str:
    return f"{number + 1:>3}. {printable(text)}"


def _scores(scores: Sequence[tuple[str, float]]) -> str:
    return " · ".join(f"{printable(text)} {score:.2f}" for text, score in scores)
