"""Statements from text: one a line, or the sentences of prose."""

import re
from pathlib import Path

from ..errors import ConfigError

MOST_BYTES = 1 << 20
MOST_STATEMENTS = 1000
# abbreviations whose full stop ends no sentence
_SHORT = ("mr", "mrs", "ms", "dr", "prof", "st", "jr", "sr", "vs", "e.g", "i.e", "cf")
_END = re.compile(r"[.!?][\"'\u201d\u2019)\]]*(?=\s|$)")


def sentences(text: str) -> list[str]:
    """Sentences of prose, each in one line.

    One ends at a full stop, question or exclamation mark that a space follows, but not after an abbreviation such as
    "Dr." or the initial of a name.
    """
    text = " ".join(text.split())
    found, begin = [], 0
    for end in _END.finditer(text):
        word = text[begin : end.start()].rsplit(" ", 1)[-1].lstrip("(\"'\u201c")
        initial = len(word) == 1 and word.isupper() and word != "I"
        if end[0] == "." and (initial or word.lower() in _SHORT):
            continue
        found.append(text[begin : end.end()].strip())
        begin = end.end()
    return [one for one in (*found, text[begin:].strip()) if one]


def statements_of(text: str) -> tuple[str, ...]:
    """The statements of a text, without empty ones.

    A text in which every line that is not empty ends like a sentence, or that holds several lines of one sentence at
    most each, has one a line; else its sentences count. A text of one line is prose.
    """
    lines = [" ".join(line.split()) for line in text.splitlines()]
    lines = [line for line in lines if line]
    if len(lines) > 1 and all(len(sentences(line)) == 1 for line in lines) and not _wrapped(lines):
        return tuple(lines)
    return tuple(sentences(text))


def read_statements(path: str | Path) -> tuple[str, ...]:
    """The statements of a text file, in UTF-8. Raises ConfigError for none, too many, or a file that is no text."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
        text = raw.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text ({error}).") from None
    if len(raw) > MOST_BYTES:
        raise ConfigError(f"{path}: expected at most {MOST_BYTES:,} bytes of statements. Take a part of it.")
    found = statements_of(text)
    if not found:
        raise ConfigError(f"{path}: holds no statements. Write one a line.")
    if len(found) > MOST_STATEMENTS:
        raise ConfigError(
            f"{path}: expected at most {MOST_STATEMENTS} statements, got {len(found)}: each is scored in each step. "
            "Take those that may matter."
        )
    return found


def _wrapped(lines: list[str]) -> bool:
    """Whether sentences go over line ends: some line ends like none, and others do."""
    ended = [bool(_END.search(line[-3:])) for line in lines]
    return any(ended) and not all(ended)
