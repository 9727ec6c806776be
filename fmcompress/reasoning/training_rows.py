"""Problems with proofs as rows of text that a small model learns selection, inference and the rest from."""

from collections.abc import Iterator, Sequence
from random import Random

from ..errors import ConfigError
from ..training.text_rows import Row
from .english import Literal, parse, say
from .gold import gold_steps
from .induction import examples
from .problem import UNKNOWN, Problem, Step
from .prompts import NOT_YET, Prompts, TrainedPrompts, chain_of
from .rules import Theory

PARTS = ("selection", "inference", "halt", "value", "direct", "chain")


def training_rows(
    problem: Problem,
    prompts: Prompts | None = None,
    *,
    parts: Sequence[str] = PARTS,
    drawn: Random | None = None,
    whole_selections: bool = False,
    seed: int = 0,
) -> list[Row]:
    """The rows of one problem, each with its part, by the steps of gold_steps().

    parts             of PARTS
    drawn             draws one step, and rows of that step alone: then every part has as many rows as "direct", but for
                      the several statements of a selection. Without it the rows are those of all steps
    whole_selections  a selection is one row, statement after statement, as a model without an encoder reads and writes
                      it anyway: the same text as in a row a statement, in fewer rows
    seed              of what spoils steps

    Steps of "value" come as they are, " correct", and with another inference, " incorrect". Of "inference", each comes
    a second time with another statement in the place of its last one, where nothing follows; then the first is said
    again, so that the inferrer need not make anything up.

    Raises ConfigError for a problem without a proof, or for a part that there is not.
    """
    if wrong := sorted({*parts} - {*PARTS}):
        raise ConfigError(f"part: expected one of {', '.join(PARTS)}, got {wrong[0]!r}.")
    prompts = prompts or TrainedPrompts()
    steps = gold_steps(problem)
    numbers = list(range(len(steps)))
    if drawn and numbers:
        numbers = [drawn.choice(numbers)]
    rows = []
    for number in numbers:
        rows += _rows_of_step(problem, steps, number, prompts, whole_selections, Random(f"{seed}/{number}"))
    rows.append(Row(prompts.direct(problem.context, problem.question), f" {problem.answer}", "direct"))
    rows.append(Row(prompts.chain(problem.context, problem.question), f" {_chain(problem, steps)}", "chain"))
    return [row for row in rows if row.part in parts]


def _rows_of_step(
    problem: Problem, steps: Sequence[Step], number: int, prompts: Prompts, whole: bool, random: Random
) -> list[Row]:
    inferences = [step.inference for step in steps[: number + 1]]
    statements = [*problem.context, *inferences[:-1]]
    chosen = [statements[one] for one in steps[number].selection]
    rows: list[Row] = []
    if len(chosen) > 1:  # one alone says again what is known: there is nothing to learn to select
        rows += (_whole if whole else _one_by_one)(prompts, statements, problem.question, chosen)
    rows.append(Row(prompts.inference(chosen), f" {inferences[-1]}", "inference"))
    rows += [
        Row(prompts.inference(those), f" {those[0]}", "inference") for those in _in_vain(chosen, statements, random)
    ]
    answered = number + 1 == len(steps) and problem.answer != UNKNOWN
    said = problem.answer if answered else NOT_YET
    rows.append(Row(prompts.halting(problem.question, inferences), f" {said}", "halt"))
    spoiled = [*inferences[:-1], _spoiled(inferences[-1], statements, random)]
    everything = [*problem.context, *inferences]
    selections = [[everything[one] for one in step.selection] for step in steps[: number + 1]]
    for those, verdict in ((inferences, " correct"), (spoiled, " incorrect")):
        rows.append(Row(prompts.value(problem.question, selections, those), verdict, "value"))
    return rows


def _one_by_one(prompts: Prompts, statements: Sequence[str], question: str, chosen: Sequence[str]) -> Iterator[Row]:
    for known in range(len(chosen) + 1):
        after = prompts.chosen(chosen[known]) if known < len(chosen) else prompts.enough()
        yield Row(prompts.selection(statements, question, chosen[:known]), after, "selection")


def _whole(prompts: Prompts, statements: Sequence[str], question: str, chosen: Sequence[str]) -> Iterator[Row]:
    begin, end = (prompts.selection(statements, question, some) for some in ((), chosen))
    if not end.startswith(begin):
        raise ConfigError("prompts: whole selections need a prompt that grows at its end. Take rows a statement.")
    yield Row(begin, end.removeprefix(begin) + prompts.enough(), "selection")


def _in_vain(chosen: Sequence[str], statements: Sequence[str], random: Random) -> list[list[str]]:
    """The selection with another last statement, from which nothing follows; none if none is found."""
    others = [one for one in statements if one not in chosen]
    those = [*chosen[:-1], random.choice(others)] if others and len(chosen) > 1 else []
    try:
        return [those] if those and len(Theory(those).heights) == len(Theory(those).facts) and not _shown(those) else []
    except ConfigError:
        return []


def _shown(selection: Sequence[str]) -> bool:
    return bool(examples([parse(sentence) for sentence in selection]))


def _chain(problem: Problem, steps: Sequence[Step]) -> str:
    inferences = [step.inference for step in steps]
    everything = [*problem.context, *inferences]
    return chain_of([[everything[one] for one in step.selection] for step in steps], inferences, problem.answer)


def _spoiled(inference: str, statements: Sequence[str], random: Random) -> str:
    """The opposite, or another statement."""
    try:
        fact = parse(inference)
    except ConfigError:
        fact = None
    others = [one for one in statements if one != inference]
    if isinstance(fact, Literal) and (random.random() < 0.5 or not others):
        return say(fact.denied())
    return random.choice(others) if others else f"It is not true that {inference}"
