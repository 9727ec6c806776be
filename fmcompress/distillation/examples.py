"""What a student learns from: inputs with labels, and with what a teacher said of them; JSON lines on disk."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..checkpoint import read_error
from ..errors import ConfigError
from ..files import write_text

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Example:
    """One input.

    input          what the student is asked, without a prefix
    label          the right answer, as it is to be written; None if nobody knows it
    rationale      why, by the teacher or a person; None if there is none that parsed
    teacher_label  the teacher's answer; None if there is none that parsed
    split          "train", "valid", "test", or None
    completion     the teacher's text as it came, where rationale and teacher_label were parsed from one
    unparsed       what was wrong with the completion; None if nothing was
    """

    input: str
    label: str | None = None
    rationale: str | None = None
    teacher_label: str | None = None
    split: str | None = None
    completion: str | None = None
    unparsed: str | None = None


def read_examples(path: Path) -> list[Example]:
    """Examples of a file of JSON lines, with the fields of Example of which only "input" must be there.

    Raises ConfigError, with the line, for anything else; DiskError if the file cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # not at U+2028, which may stand in a text
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: expected UTF-8 text.") from None
    except OSError as error:
        raise read_error(path, error) from None
    examples = [_parsed(line, f"{path}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]
    if not examples:
        raise ConfigError(f'{path}: expected JSON lines such as {{"input": …, "label": …}}, got none.')
    return examples


def write_examples(path: Path, examples: Iterable[Example]) -> None:
    """Write examples, a JSON line each, whole or not at all; fields that are None are left out. Raises DiskError."""
    kept = ({name: value for name, value in asdict(one).items() if value is not None} for one in examples)
    write_text(path, "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in kept))


def parse_json(text: str, where: str) -> Any:
    """The value of a JSON text. Raises ConfigError, with where, for what is none, or holds half a character."""
    try:
        value = json.loads(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{where}: holds half of a surrogate pair, which is no character. Write it whole.") from None
    except (ValueError, RecursionError):
        raise ConfigError(f"{where}: is no JSON.") from None
    return value


def _parsed(line: str, where: str) -> Example:
    values = parse_json(line, where)
    if not isinstance(values, dict) or not isinstance(values.get("input"), str):
        raise ConfigError(f'{where}: expected an object with a text as "input".')
    known: dict[str, Any] = {name: values.get(name) for name in Example.__dataclass_fields__}
    for name, value in known.items():
        if not isinstance(value, str | None):
            raise ConfigError(f'{where}: expected a text as "{name}", got {value!r}.')
    if known["split"] not in (None, *SPLITS):
        raise ConfigError(f'{where}: expected "split" to be one of {", ".join(SPLITS)}, got {known["split"]!r}.')
    return Example(**known)
