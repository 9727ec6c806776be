"""Insights from a language model: it is asked for differences, and its answers are read with suspicion."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from ..errors import ConfigError, LanguageModelError, in_one_line
from ..language_model import LanguageModel
from .insights import Insight

MAX_LETTERS = 200  # of a text; longer ones are no description but chatter
QUESTIONS = {
    "reject": (
        "Pictures of {first} and of {second} are to be told apart{task}. Often something else differs between them "
        "that has nothing to do with what they are, such as where they are, what is around them, their colour, the "
        "light or how they were photographed. A classifier that looks at that is wrong as soon as it changes.\n"
        "Name {count} such misleading differences."
    ),
    "accept": (
        "Pictures of {first} and of {second} are to be told apart{task}. "
        "What can be seen of the thing itself, and stays wherever it is, tells them apart.\n"
        "Name {count} such differences of shape, parts, texture or behaviour."
    ),
}
FORM = (
    "\nWrite one difference a line, in this form and nothing else:\n"
    "a photo of what is seen with {first} | a photo of what is seen with {second}\n"
)
MARK = re.compile(r"^\s*(?:[-*•]|\(?\d+[.):])\s*")  # of lists


@dataclass(frozen=True)
class Answers:
    """What a language model said.

    insights  pairs of texts that could be read, each once
    unread    lines that are no pair, as they were: nothing is dropped silently
    repeated  how many pairs had been said before
    """

    insights: tuple[Insight, ...]
    unread: tuple[str, ...]
    repeated: int


def ask_for_insights(
    model: LanguageModel,
    classes: Sequence[str],
    task: str = "",
    *,
    count: int = 5,
    temperature: float = 0.0,
    top_p: float = 1.0,
    samples: int = 1,
    seed: int = 0,
    max_tokens: int = 512,
    date: str = "",
) -> Answers:
    """Ask for spurious and for telling differences of every two classes.

    classes  two or more names; one question of each kind for every two of them
    task     more about the pictures, such as "photographs of birds in the wild"
    count    differences to ask for in a question
    samples  answers to each question; above 1 only a temperature above 0 makes them differ
    date     of today, for the file

    Raises LanguageModelError if an answer holds no pair at all, ConfigError for less than two classes.
    """
    if len(set(classes)) < 2 or len(set(classes)) != len(classes):
        raise ConfigError(f"classes: expected at least two different names, got {', '.join(classes) or 'none'}.")
    asked = [(kind, pair) for pair in combinations(classes, 2) for kind in QUESTIONS]
    prompts = [_prompt(kind, *pair, task, count) for kind, pair in asked]
    answers = model.generate(
        prompts, max_tokens=max_tokens, temperature=temperature, top_p=top_p, samples=samples, seed=seed
    )
    found: dict[tuple[str, str, str], Insight] = {}
    unread: list[str] = []
    repeated = 0
    for (kind, pair), texts in zip(asked, answers, strict=True):
        pairs, rest = _all_pairs(texts)
        if not pairs:
            said = in_one_line(texts[0] if texts else "", 80)
            raise LanguageModelError(
                f"{model.name}: expected lines 'a | b' about {pair[0]} and {pair[1]}, got {said!r}. "
                "Take another model, or write the insights into a file."
            )
        unread += rest
        for a, b in pairs:
            repeated += (kind, a, b) in found
            found.setdefault((kind, a, b), Insight(kind, a, b, model.name, pair, date))  # type: ignore[arg-type]
    return Answers(tuple(found.values()), tuple(unread), repeated)


def parse_pairs(answer: str) -> tuple[list[tuple[str, str]], list[str]]:
    """The pairs of an answer, and what of it is none: lines "a | b", in a list or a code block or not, or JSON.

    JSON may be a list of pairs [a, b] or of objects {"a": ..., "b": ...}, alone or as the only value of an object.
    """
    body = "\n".join(line for line in answer.splitlines() if not line.strip().startswith("```"))
    entries = _json_entries(body)
    if entries is None:
        entries = [MARK.sub("", line).split("|") for line in body.splitlines() if line.strip()]
    pairs: list[tuple[str, str]] = []
    unread: list[str] = []
    for entry in entries:
        pair = _pair(entry)
        if pair:
            pairs.append(pair)
        else:
            unread.append("|".join(map(str, entry)) if isinstance(entry, list) else json.dumps(entry))
    return pairs, unread


def _prompt(kind: str, first: str, second: str, task: str, count: int) -> str:
    of_task = f" ({task})" if task else ""
    return (QUESTIONS[kind] + FORM).format(first=first, second=second, task=of_task, count=count)


def _all_pairs(texts: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
    parsed = [parse_pairs(text) for text in texts]
    return [pair for pairs, _ in parsed for pair in pairs], [line for _, rest in parsed for line in rest]


def _json_entries(body: str) -> list[Any] | None:
    """The list that the text is, or None."""
    try:
        document = json.loads(body)
    except ValueError:
        return None
    if isinstance(document, dict) and len(document) == 1:
        document = next(iter(document.values()))
    return document if isinstance(document, list) else None


def _pair(entry: Any) -> tuple[str, str] | None:
    if isinstance(entry, dict):
        entry = [entry.get("a"), entry.get("b")]
    if not isinstance(entry, list) or len(entry) != 2 or not all(isinstance(text, str) for text in entry):
        return None
    a, b = (text.strip().strip("\"'`*").strip() for text in entry)
    usable = a and b and a != b and max(len(a), len(b)) <= MAX_LETTERS
    return (a, b) if usable and any(map(str.isalpha, a)) and any(map(str.isalpha, b)) else None
