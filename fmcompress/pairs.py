"""Manifests of images and videos, and of what is said of them: one JSON object a line."""

import json
import os
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .checkpoint.writer import read_error
from .errors import CalibrationError

WORDS = (("text",), ("label",), ("question", "answer"))  # what may be said of an item; one of them
KNOWN = {"image", "video", "split", *(key for keys in WORDS for key in keys)}
EXAMPLE = '{"image": "cat.png", "text": "a cat"}'


@dataclass(frozen=True)
class Pair:
    """An image or a video and what is said of it: a caption, the name of its class, or a question and its answer.

    path   of the image or video
    video  which of both
    line   of the manifest, from 1
    """

    path: Path
    video: bool
    text: str | None = None
    label: str | None = None
    question: str | None = None
    answer: str | None = None
    split: str | None = None
    line: int = 0


def read_pairs(path: str | Path, *, note: Callable[[str], None] = warnings.warn) -> list[Pair]:
    """The pairs of a .jsonl file, in its order. Files of images and videos are not looked at: see require_media().

    Each line is an object with "image" or "video", a path from the manifest's folder (or an absolute one: manifests are
    trusted to name files anywhere); with "text", "label", or "question" and "answer"; and, if one likes, "split".
    Blank lines are skipped.

    note  is told of keys that are not known, and of no use

    Raises DiskError if it cannot be read, CalibrationError with the line's number if a line is none of these, or if
    there are none.
    """
    path = Path(path)
    if not path.is_file():
        raise CalibrationError(f"{path}: no such file. Give a manifest of pairs: a line each such as {EXAMPLE}.")
    pairs, unknown = [], Counter[str]()
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    fields = _parsed(path, number, line)
                    unknown.update(set(fields) - KNOWN)
                    pairs.append(_pair(path, number, fields))
    except UnicodeDecodeError as error:
        raise CalibrationError(f"{path}: is no UTF-8 text ({error}).") from None
    except OSError as error:
        raise read_error(path, error) from None
    if not pairs:
        raise CalibrationError(f"{path}: holds no pairs. Write a line each such as {EXAMPLE}.")
    for key, count in sorted(unknown.items()):
        note(f"{path}: the key {key!r} of {count} lines is not known and does nothing.")
    return pairs


def require_media(pairs: Sequence[Pair]) -> None:
    """Raise CalibrationError, with their number and the first of them, if files of pairs are not there."""
    seen = {pair.path: pair for pair in reversed(pairs)}
    missing = [pair for path, pair in seen.items() if not os.path.exists(path)]  # False for a name too long
    if missing:
        first = min(missing, key=lambda pair: pair.line)
        raise CalibrationError(
            f"{first.path}: {len(missing)} of {len(seen)} images and videos are not there; this is the first, of line "
            f"{first.line}. Paths begin at the manifest's folder."
        )


def class_names(pairs: Sequence[Pair]) -> list[str]:
    """The different labels, sorted: the number of a class is its place in them."""
    return sorted({pair.label for pair in pairs if pair.label is not None})


def _parsed(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        fields = json.loads(line, object_pairs_hook=_without_twins)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise CalibrationError(f"{path}, line {number}: expected a JSON object such as {EXAMPLE}, no key twice.")
    return fields


def _is_unicode(text: str) -> bool:
    """Whether it has no half of a letter, which JSON can spell and no file or tokenizer takes."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any] | None:
    """An object; None where a key stands there twice, of which the later one would silently win."""
    found = dict(pairs)
    return found if len(found) == len(pairs) else None


def _pair(path: Path, number: int, fields: dict[str, Any]) -> Pair:
    where = f"{path}, line {number}"
    given = {key: fields[key] for key in sorted(KNOWN & set(fields)) if fields[key] is not None}
    for key, value in given.items():
        if not isinstance(value, str) or not value.strip() or "\0" in value or not _is_unicode(value):
            raise CalibrationError(f'{where}: expected "{key}" to be a string with something in it.')
    media = [key for key in ("image", "video") if key in given]
    if len(media) != 1:
        raise CalibrationError(f'{where}: expected "image" or "video", got {" and ".join(media) or "neither"}.')
    said = [keys for keys in WORDS if set(keys) & set(given)]
    if len(said) != 1 or not set(said[0]) <= set(given):
        got = ", ".join(key for keys in said for key in keys if key in given) or "none of them"
        raise CalibrationError(f'{where}: expected "text", "label", or "question" and "answer", got {got}.')
    words = {key: given[key].strip() for key in said[0]}
    return Pair(path.parent / given[media[0]], media[0] == "video", **words, split=given.get("split"), line=number)
