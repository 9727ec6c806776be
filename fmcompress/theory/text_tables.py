"""Tables and lists that people write: rows of CSV and TSV files, lines of text files, strictly read."""

import csv
import io
from pathlib import Path

from ..errors import ConfigError, in_one_line

SEPARATORS = {".csv": ",", ".tsv": "\t"}


def read_rows(path: Path) -> list[list[str]]:
    """The rows of a .csv or .tsv file, cells without spaces around them, empty lines left out. Raises ConfigError."""
    lines = io.StringIO(_text(path), newline="")
    try:
        rows = [
            [cell.strip() for cell in row] for row in csv.reader(lines, delimiter=SEPARATORS[path.suffix], strict=True)
        ]
    except csv.Error as error:
        raise ConfigError(f"{path}: not a {path.suffix[1:].upper()} table ({in_one_line(error)}).") from None
    rows = [row for row in rows if any(row)]
    if not rows:
        raise ConfigError(f"{path}: expected a table, got an empty file.")
    for number, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            raise ConfigError(f"{path}: row {number} has {len(row)} cells, the first {len(rows[0])}. Give all as many.")
    return rows


def read_lines(path: Path) -> list[str]:
    """The lines of a text file without spaces around them; those behind the last that says something are left out."""
    lines = [line.strip() for line in _text(path).split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}).") from None
    except ValueError as error:
        raise ConfigError(f"{path}: expected text in UTF-8 ({in_one_line(error)}).") from None
