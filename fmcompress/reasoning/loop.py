"""Selection and inference in turns, until the halter answers: one trace, or a beam of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..errors import ConfigError
from .parts import Answer, BeamSelector, Halter, Inferrer, Selected, Selector, Value
from .problem import UNKNOWN
from .prompts import spoken
from .trace import ANSWERED, NO_PROGRESS, Trace, TraceStep, check_selection


@dataclass(frozen=True)
class _Path:
    """A trace that grows; `stuck` tells why it cannot go on."""

    context: tuple[str, ...]
    question: str
    steps: tuple[TraceStep, ...] = ()
    score: float = 0.0
    stuck: str = ""
    answer: Answer | None = None

    @property
    def statements(self) -> tuple[str, ...]:
        return (*self.context, *self.inferences)

    @property
    def inferences(self) -> tuple[str, ...]:
        return tuple(step.inference for step in self.steps)

    @property
    def known(self) -> frozenset[str]:
        return frozenset(map(_key, self.statements))


class SelectionInference:
    """Answers by steps that each show what they were drawn from (Creswell et al. 2022).

    selector   chooses the statements of a step; for a beam it must have candidates()
    inferrer   says what follows from them, and sees nothing else
    halter     asked after each step whether the question can be answered
    max_steps  after which the answer is UNKNOWN
    beam       traces that are kept; 1 is greedy. Of each trace so many selections are tried
    value      ranks traces by how they look so far; without it by the sum of their selections' scores
    dedupe     a step that says what is known already, or selects what an earlier step did, ends its trace with "no
               progress" unless the halter answers after it; and of traces of a beam that know the same one is kept
    """

    def __init__(
        self,
        selector: Selector,
        inferrer: Inferrer,
        halter: Halter,
        max_steps: int = 5,
        *,
        beam: int = 1,
        value: Value | None = None,
        dedupe: bool = True,
    ) -> None:
        if max_steps < 1:
            raise ConfigError(f"steps: expected at least 1, got {max_steps}.")
        if beam < 1:
            raise ConfigError(f"beam: expected at least 1, got {beam}.")
        if beam > 1 and not isinstance(selector, BeamSelector):
            raise ConfigError(f"beam: {type(selector).__name__} has no candidates(), which a beam needs. Use beam 1.")
        self.selector, self.inferrer, self.halter, self.value = selector, inferrer, halter, value
        self.max_steps, self.beam, self.dedupe = max_steps, beam, dedupe

    def run(self, context: Sequence[str], question: str, choices: Sequence[str] = ()) -> Trace:
        """Answer a question about statements. The trace that comes back is validated.

        Raises TraceError for a part that selects what is not there, ConfigError for an empty context.
        """
        if not context:
            raise ConfigError("context: expected statements, got none.")
        live, ended = [_Path(tuple(context), question)], list[_Path]()
        self._trace(live[0], choices).validate()
        for at in range(1, self.max_steps + 1):
            grown = self._best([child for path in live for child in self._children(path)])
            grown = [self._asked(path, choices) if len(path.steps) == at else path for path in grown]
            ended += [path for path in grown if path.answer or path.stuck]
            live = [path for path in grown if not (path.answer or path.stuck)]
            if not live or (not self.value and _answers_first(ended, live)):
                break
        best = max([*live, *ended], key=lambda path: (path.answer is not None, not path.stuck, path.score))
        trace = self._trace(best, choices)
        trace.validate()
        return trace

    def _children(self, path: _Path) -> list[_Path]:
        """A path with one more step, for each selection that is tried."""
        if self.beam > 1 and isinstance(self.selector, BeamSelector):
            tried = self.selector.candidates(path.statements, path.question, self.beam)
        else:
            tried = [self.selector.select(path.statements, path.question)]
        return [self._child(path, selected) for selected in tried]

    def _child(self, path: _Path, selected: Selected) -> _Path:
        at, before = len(path.steps) + 1, [frozenset(step.selection) for step in path.steps]
        if not selected.numbers:
            return replace(path, stuck=f"step {at} selected nothing")
        check_selection(selected.numbers, len(path.context), len(path.steps))
        if self.dedupe and frozenset(selected.numbers) in before:
            again = before.index(frozenset(selected.numbers)) + 1
            return replace(path, stuck=f"step {at} selected the same statements as step {again}")
        inference = self.inferrer.infer([path.statements[number] for number in selected.numbers])
        if not inference.strip():
            return replace(path, stuck=f"step {at} inferred nothing")
        repeats = self.dedupe and _key(inference) in path.known
        stuck = f"step {at} inferred what was known already" if repeats else ""
        steps = (*path.steps, TraceStep(selected.numbers, inference, selected.score))
        return self._valued(replace(path, steps=steps, score=path.score + selected.score, stuck=stuck))

    def _valued(self, path: _Path) -> _Path:
        if self.value is None:
            return path
        selections = [[path.statements[number] for number in step.selection] for step in path.steps]
        value = self.value.value(path.question, selections, path.inferences)
        return replace(path, score=value, steps=(*path.steps[:-1], replace(path.steps[-1], value=value)))

    def _best(self, paths: list[_Path]) -> list[_Path]:
        """Those that are kept: paths that can go on before stuck ones, then by their score; the earlier of equals."""
        ranked = sorted(paths, key=lambda path: (bool(path.stuck), -path.score))
        if not self.dedupe:
            return ranked[: self.beam]
        different: dict[object, _Path] = {}
        for path in ranked:
            different.setdefault((bool(path.stuck), path.known, path.inferences[-1:]), path)
        return list(different.values())[: self.beam]

    def _asked(self, path: _Path, choices: Sequence[str]) -> _Path:
        return replace(path, answer=self.halter.halt(path.question, path.inferences, choices))

    def _trace(self, path: _Path, choices: Sequence[str]) -> Trace:
        state, reason, answer = UNKNOWN, f"no answer within {self.max_steps} steps", Answer(UNKNOWN)
        if path.answer:
            state, reason, answer = ANSWERED, f"the halter answered after step {len(path.steps)}", path.answer
        elif path.stuck:
            state, reason = NO_PROGRESS, path.stuck
        return Trace(path.context, path.question, path.steps, answer.text, state, reason, tuple(choices), answer.scores)


def _answers_first(ended: list[_Path], live: list[_Path]) -> bool:
    """Whether an answer ranks before all that goes on: sums of log probabilities only fall."""
    return max((path.score for path in ended if path.answer), default=float("-inf")) >= live[0].score


def _key(statement: str) -> str:
    return spoken(" ".join(statement.split())).casefold()
