"""Worked examples for models that were not trained on these prompts: our own, or a person's in a YAML file."""

from pathlib import Path
from typing import Any

import yaml

from ..errors import ConfigError, TraceError, in_one_line
from .problem import Problem, Step
from .trace import ANSWERED, Trace, TraceStep

EXEMPLARS = (
    Problem(
        context=(
            "Milo is a lynx.",
            "Tara is a gull.",
            "Every lynx is a quiet animal.",
            "Quiet animals hunt at night.",
        ),
        question="Does Milo hunt at night?",
        proof=(Step((0, 2), "Milo is a quiet animal."), Step((4, 3), "Milo hunts at night.")),
        answer="yes",
    ),
    Problem(
        context=(
            "The key is in the red box.",
            "The lamp is in the attic.",
            "The red box is in the cellar.",
        ),
        question="Where is the key?",
        proof=(Step((0, 2), "The key is in the cellar."),),
        answer="cellar",
    ),
    Problem(
        context=(
            "Ida is small.",
            "If someone is tall then they are not small.",
            "Oren is tall.",
        ),
        question="Is Oren small?",
        proof=(Step((2, 1), "Oren is not small."),),
        answer="no",
    ),
)
FORM = (
    "a list of examples, each with context (a list of sentences), question, steps (a list of selection, numbers from 0 "
    "on, and inference) and answer"
)


def read_exemplars(path: str | Path) -> tuple[Problem, ...]:
    """Worked examples of a YAML file, in the form of

    - context: ["Milo is a lynx.", "Every lynx is quiet."]
      question: Is Milo quiet?
      steps:
      - {selection: [0, 1], inference: Milo is quiet.}
      answer: "yes"

    Numbers are those of Step. Raises ConfigError for a file that is none, and for steps that do not hold.
    """
    try:
        found = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except Exception as error:  # values such as !!int, !!bool or a date raise whatever Python's own types raise
        raise ConfigError(f"{path}: cannot be read as YAML ({in_one_line(error, 160)}).") from None
    if not isinstance(found, list) or not found:
        raise ConfigError(f"{path}: expected {FORM}.")
    return tuple(_example(f"{path}: example {number}", one) for number, one in enumerate(found, 1))


def _example(what: str, found: Any) -> Problem:
    if not isinstance(found, dict) or found.keys() != {"context", "question", "steps", "answer"}:
        raise ConfigError(f"{what}: expected context, question, steps and answer.")
    context, steps = (_list(f"{what}: {name}", found[name]) for name in ("context", "steps"))
    question, answer = (_text(f"{what}: {name}", found[name]) for name in ("question", "answer"))
    statements = tuple(_text(f"{what}: context", one) for one in context)
    proof = tuple(_step(f"{what}: steps", one) for one in steps)
    try:
        Trace(statements, question, proof, answer, ANSWERED).validate()
    except TraceError as error:
        raise ConfigError(f"{what}: {error}") from None
    return Problem(statements, question, answer, proof=proof)


def _step(what: str, found: Any) -> TraceStep:
    if not isinstance(found, dict) or found.keys() != {"selection", "inference"}:
        raise ConfigError(f"{what}: expected selection and inference in each.")
    return TraceStep(tuple(_list(f"{what}: selection", found["selection"])), _text(what, found["inference"]))


def _list(what: str, found: Any) -> list[Any]:
    if not isinstance(found, list):
        raise ConfigError(f"{what}: expected a list, got {in_one_line(repr(found), 60)}.")
    return found


def _text(what: str, found: Any) -> str:
    if not isinstance(found, str) or not found.strip():
        got = in_one_line(repr(found), 60)
        raise ConfigError(
            f"{what}: expected a text, got {got}. Put it into quotes if YAML takes it for something else."
        )
    return found
