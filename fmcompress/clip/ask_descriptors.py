"""Descriptors from a language model: what it is asked, and what of its answer is kept."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import LanguageModelError, in_one_line
from ..language_model import LanguageModel
from .descriptors import read_descriptors, spoken

ASKED_AT_ONCE = 16
MOST_WORDS = 20  # of a descriptor: what is longer is a tale
QUESTION = """\
What does one see of a thing in a photo that tells it from others? Short phrases, one a line, each after "- ".

Thing: bicycle
- two thin wheels with spokes
- a triangular frame of tubes
- handlebars
- pedals with a chain
- a small saddle

Thing: barn owl
- a white, heart-shaped face
- dark eyes
- golden brown back with grey spots
- long wings
- a short tail

Thing: {}
"""


@dataclass(frozen=True)
class Asked:
    """What came of asking.

    descriptors  class -> descriptors
    refused      class -> lines of its answer that are no descriptors
    """

    descriptors: dict[str, list[str]]
    refused: dict[str, list[str]] = field(default_factory=dict)


def ask_for_descriptors(
    language_model: LanguageModel,
    classes: Sequence[str],
    path: Path | None = None,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Asked:
    """Ask a language model what the classes look like, without a temperature.

    path      JSON file of descriptors that grows with the answers; classes that stand there already are not asked
              again, so that an interrupted run goes on
    progress  called with (classes done, classes in all)

    Raises LanguageModelError that names the classes whose answers hold no descriptor, after all others are written.
    """
    from ..files import write_json  # of torch, which methods do without

    found = read_descriptors(path) if path and path.exists() else {}
    refused: dict[str, list[str]] = {}
    open_classes = [name for name in dict.fromkeys(classes) if not found.get(name)]
    for begin in range(0, len(open_classes), ASKED_AT_ONCE):
        some = open_classes[begin : begin + ASKED_AT_ONCE]
        prompts = [QUESTION.format(spoken(name)) for name in some]
        answers = language_model.generate(prompts, max_tokens=150, stop=["\n\n", "Thing:"], seed=seed)
        for name, (answer, *_) in zip(some, answers, strict=True):
            kept, rubbish = parse_descriptors(answer)
            if kept:
                found[name] = kept
            if rubbish:
                refused[name] = rubbish
        if path and found:
            write_json(path, found)
        progress(begin + len(some), len(open_classes))
    without = [name for name in open_classes if not found.get(name)]
    if without:
        lines = refused.get(without[0], [])
        heard = f"It said: {in_one_line(json.dumps(lines[0], ensure_ascii=False), 80)}" if lines else "It said nothing"
        raise LanguageModelError(
            f"{language_model.name}: gave no descriptors for {len(without)} of {len(set(classes))} classes: "
            f"{', '.join(without)}. {heard}. Take another model, or write them by hand."
        )
    return Asked({name: found[name] for name in classes}, refused)


def parse_descriptors(answer: str) -> tuple[list[str], list[str]]:
    """The descriptors of an answer, and its other lines, which are of no use.

    A descriptor is a line that begins with "- " (or "* " or "• "), has letters and at most 20 words, and is new.
    """
    kept: list[str] = []
    rubbish = []
    for line in filter(None, map(str.strip, answer.splitlines())):
        mark, text = line[:2], " ".join(line[2:].split()).rstrip(".;")
        good = mark in ("- ", "* ", "• ") and text.isprintable() and any(map(str.isalpha, text))
        if good and len(text.split()) <= MOST_WORDS and text not in kept:
            kept.append(text)
        else:
            rubbish.append(line)
    return kept, rubbish
