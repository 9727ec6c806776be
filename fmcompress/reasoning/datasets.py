"""Readers of bAbI, ProofWriter and ProntoQA: files as their authors give them become problems."""

import gzip
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import ConfigError, in_one_line
from .english import FALSE, TRUE, Literal, ask, parse, say
from .problem import UNKNOWN, Problem, Step
from .statements import sentences

BABI_TASKS = (1, 2, 3, 15, 16)
_ANSWERS = {"A": TRUE, "B": FALSE, "C": UNKNOWN}
# what a question and its answer say together, of the five tasks
_SAID = (
    (r"What color is (.+)\?", "{0} is {1}."),
    (r"Where is (.+)\?", "{0} is in the {1}."),
    (r"Where was (.+) before (.+)\?", "{0} was in the {2} before {1}."),
)


def read_babi(path: str | Path, task: int | None = None) -> list[Problem]:
    """Questions of a bAbI file: what was said before is the context, the supporting lines are the proof's one step.

    path  a file such as qa15_basic-deduction_test.txt, or the folder with it
    task  of BABI_TASKS, for a folder; a file's name tells its own

    The step's inference is question and answer as a statement.

    Raises ConfigError for a file that is not there or not of this form.
    """
    path = Path(path)
    if path.is_dir():
        if task not in BABI_TASKS:
            raise ConfigError(f"task: expected one of {', '.join(map(str, BABI_TASKS))}, got {task}.")
        found = sorted(path.glob(f"qa{task}_*.txt"))
        tests = [one for one in found if one.stem.endswith("_test")] or found
        if not tests:
            raise ConfigError(f"{path}: expected a file qa{task}_…_test.txt of bAbI, got none.")
        path = tests[0]
    named = re.match(r"qa(\d+)_", path.name)
    name = f"babi-{named[1] if named else path.stem}"
    problems = list(_babi_questions(path, name))
    if not problems:
        raise ConfigError(f"{path}: expected questions of bAbI, got none.")
    return problems


def _babi_questions(path: Path, name: str) -> Iterator[Problem]:
    story: dict[int, str] = {}  # statements by the number of their line
    count = last = 0
    for at, line in enumerate(_text(path).splitlines(), 1):
        number, _, said = line.partition(" ")
        if not said.strip() or number not in ("1", f"{last + 1}"):
            raise _damaged(path, at, "a line's number, counted from 1 in each story, and a sentence", line)
        last = 1 if number == "1" else last + 1
        if last == 1:
            story = {}
        if "\t" not in said:
            story[last] = said.strip()
            continue
        yield _babi_problem(path, at, line, story, said, f"{name}-{count}")
        count += 1


def _babi_problem(path: Path, at: int, line: str, story: dict[int, str], said: str, name: str) -> Problem:
    question, *rest = (part.strip() for part in said.split("\t"))
    support = rest[1].split() if len(rest) == 2 else []
    known = {f"{number}": place for place, number in enumerate(story)}
    if not story or not rest or not rest[0] or not known.keys() >= {*support}:
        raise _damaged(path, at, "a question, its answer and numbers of statements before it, between tabs", line)
    context = tuple(story.values())
    proof = None
    if support:
        chosen = tuple(dict.fromkeys(known[one] for one in support))
        proof = (Step(chosen, statement_of(question, rest[0])),)
    return Problem(context, question, rest[0], (), len(proof) if proof else None, proof, name)


def statement_of(question: str, answer: str) -> str:
    """What a question of bAbI and its answer say together, as a statement."""
    if match := re.fullmatch(r"What is (.+) afraid of\?", question):
        return say(Literal(match[1].lower(), "is afraid of", answer))
    for pattern, said in _SAID:
        if match := re.fullmatch(pattern, question):
            text = said.format(match[1], *(match.groups()[1:] or (answer,)), answer)
            return f"{text[0].upper()}{text[1:]}"
    return f"{question} {answer}."


def read_proofwriter(path: str | Path) -> list[Problem]:
    """ProofWriter as multiple choice, in an open world: true, false or unknown. The files hold no proofs.

    path  .json or .json.gz, or a folder with dev.json

    The question becomes "Is Bob kind?" or "Is it true that …?", as generated problems have it. Raises ConfigError for
    another form.
    """
    return [_chosen(path, at, item, (TRUE, FALSE, UNKNOWN)) for at, item in _items(path)]


def read_prontoqa(path: str | Path) -> list[Problem]:
    """ProntoQA as multiple choice, true or false, with its chain of reasoning as the proof.

    path  .json or .json.gz, or a folder with dev.json

    The question becomes "Is Max sour?". Raises ConfigError for another form, or a chain that is none.
    """
    problems = []
    for at, item in _items(path):
        problem = _chosen(path, at, item, (TRUE, FALSE))
        proof = _chain(path, at, problem.context, item.get("explanation"))
        problems.append(
            Problem(problem.context, problem.question, problem.answer, problem.choices, len(proof), proof, problem.name)
        )
    return problems


def _chain(path: str | Path, at: int, context: Sequence[str], said: Any) -> tuple[Step, ...]:
    """The steps of a chain: a fact, then rules and what follows from each."""
    wanted = "an explanation of a fact, then rules of the context and what follows, in turns"
    if not isinstance(said, list) or len(said) % 2 == 0 or not all(isinstance(one, str) for one in said):
        raise _damaged(path, at, wanted, said)
    if said[0] not in context or any(rule not in context for rule in said[1::2]):
        raise _damaged(path, at, wanted, said)
    steps, known = [], context.index(said[0])
    for rule, inference in zip(said[1::2], said[2::2], strict=True):
        steps.append(Step((known, context.index(rule)), inference))
        known = len(context) + len(steps) - 1
    return tuple(steps)


def _chosen(path: str | Path, at: int, item: Any, choices: Sequence[str]) -> Problem:
    wanted = "an object with context, question and answer, one of A, B" + (", C" if len(choices) == 3 else "")
    given = [item.get(key) for key in ("context", "question", "answer")] if isinstance(item, dict) else []
    said = [one for one in given if isinstance(one, str)]
    if len(said) < 3:
        raise _damaged(path, at, wanted, item)
    context, question, answer = said
    statement = re.sub(r"^.*(?:true|false|unknown)\?\s*", "", question).strip().removesuffix(".")
    if _ANSWERS.get(answer) not in choices or not statement or not sentences(context):
        raise _damaged(path, at, wanted, item)
    name = str(item.get("id", f"{Path(path).stem}-{at}"))
    return Problem(tuple(sentences(context)), _question(statement), _ANSWERS[answer], tuple(choices), name=name)


def _question(statement: str) -> str:
    """As generated problems ask."""
    try:
        parsed = parse(statement)
    except ConfigError:
        parsed = None
    return ask(parsed) if isinstance(parsed, Literal) else f"Is it true that {statement}?"


def _items(path: str | Path) -> list[tuple[int, Any]]:
    path = Path(path)
    if path.is_dir():
        path = path / "dev.json"
    text = _text(path)
    try:
        items = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"{path}: expected JSON, got a damaged file ({in_one_line(error, 120)}). Fetch it anew."
        ) from None
    if not isinstance(items, list) or not items:
        raise ConfigError(f"{path}: expected a list of questions, got {in_one_line(str(items), 40)!r}.")
    return list(enumerate(items, 1))


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        return (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise ConfigError(f"{path}: cannot be read as text ({in_one_line(str(error), 120)}).") from None


def _damaged(path: str | Path, at: int, wanted: str, got: Any) -> ConfigError:
    where = "line" if Path(path).suffix == ".txt" else "question"
    return ConfigError(f"{path}: {where} {at}: expected {wanted}, got {in_one_line(str(got), 80)!r}. Fetch it anew.")
