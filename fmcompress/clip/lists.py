"""What people write beside embeddings: labels as CSV, names of classes, templates of prompts."""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ..errors import ConfigError, in_one_line
from .embedding_set import EmbeddingSet
from .vectors import Labels

COLUMNS = ("name", "label", "group", "split")
# how a name in a CSV may stand for that of an embedding: whole, without folders, without folders and ending
FORMS: tuple[Callable[[str], str], ...] = (
    str,
    lambda name: PurePosixPath(name).name,
    lambda name: PurePosixPath(name).stem,
)


def read_labels(path: str | Path, found: EmbeddingSet) -> EmbeddingSet:
    """The set with the labels, groups and splits of a CSV file with columns name[,label][,group][,split].

    Rows are matched by name: as it is written or, where no name of the file is that of an embedding, as the embeddings'
    names without folders, then without endings. Without a column name rows are matched by order. An empty label or
    group is unknown (-1). Classes are those that the set has, where it has some; else the names in the file, sorted (by
    value if all are whole numbers), as are groups.

    Raises ConfigError for missing, unknown and doubled names, unknown columns, and labels that are no class of the set.
    """
    path = Path(path)
    columns = read_csv(path, COLUMNS)
    order = _order(path, columns.pop("name", None), found, len(next(iter(columns.values()), [])))
    changes: dict[str, Any] = {}
    if "label" in columns:
        texts = [columns["label"][at] for at in order]
        changes["labels"], changes["classes"] = numbered(path, "label", texts, found.classes)
    if "group" in columns:
        texts = [columns["group"][at] for at in order]
        changes["groups"], changes["group_names"] = numbered(path, "group", texts, found.group_names)
    if "split" in columns:
        changes["splits"] = tuple(columns["split"][at] for at in order)
    try:
        return replace(found, **changes)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def read_names(path: str | Path) -> tuple[str, ...]:
    """Names of classes: a line each of a .txt file, or a list, or the keys of an object, of a .json file.

    Raises ConfigError if there are none, or one stands there twice.
    """
    given = _read_lines_or_json(Path(path))
    names = tuple(given)
    if not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise ConfigError(f"{path}: expected names, one a line or a JSON list of texts.")
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise ConfigError(f"{path}: {twice[0]!r} stands there twice ({len(twice)} such). Name each class once.")
    return names


def read_templates(path: str | Path) -> Sequence[str] | Mapping[str, Sequence[str]]:
    """Templates with a {} for the class: a line each, or a JSON list; or JSON of class -> list of finished prompts.

    Raises ConfigError if there are none.
    """
    given = _read_lines_or_json(Path(path))
    lists = list(given.values()) if isinstance(given, dict) else [given]
    if not lists or not all(isinstance(one, list) and one and all(isinstance(t, str) for t in one) for one in lists):
        raise ConfigError(f"{path}: expected templates, one a line, a JSON list, or JSON of class -> list of prompts.")
    return given


def _read_lines_or_json(path: Path) -> Any:
    if path.suffix in (".csv", ".tsv"):
        raise ConfigError(f"{path}: expected a list, .txt or .json, got a table. Write its names one a line.")
    if path.suffix == ".json":
        return read_json(path)
    return [line.strip() for line in _read_text(path).split("\n") if line.strip()]


def read_json(path: Path) -> Any:
    """A JSON list or object; no key of an object stands there twice. Raises ConfigError for anything else."""
    text = _read_text(path)
    try:
        given = json.loads(text, object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not UTF-8 text or valid JSON ({in_one_line(error)}).") from None
    if not isinstance(given, list | dict):
        raise ConfigError(f"{path}: expected a JSON list or object, got {type(given).__name__}.")
    return given


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}).") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not UTF-8 text or valid JSON ({in_one_line(error)}).") from None


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, whose later keys would silently win."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands there twice")
    return found


def read_csv(path: Path, known: Sequence[str], needed: Sequence[str] = ()) -> dict[str, list[str]]:
    """Columns of a CSV file by title. Raises ConfigError for titles that are not known, and without those needed."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file, strict=True) if row]
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}).") from None
    except (csv.Error, ValueError) as error:
        raise ConfigError(f"{path}: not CSV in UTF-8 ({in_one_line(error)}).") from None
    titles = [title.strip() for title in rows[0]] if rows else []
    if not titles or not {*needed} <= {*titles} <= {*known} or len({*titles}) < len(titles):
        wanted = f"{', '.join(needed)} and some of {', '.join(known)}" if needed else f"some of {', '.join(known)}"
        raise ConfigError(f"{path}: expected a first line of {wanted}, got {in_one_line(titles)}.")
    for number, row in enumerate(rows[1:], 1):
        if len(row) != len(titles):
            raise ConfigError(f"{path}: row {number} has {len(row)} values for {len(titles)} columns.")
    return {title: [row[at].strip() for row in rows[1:]] for at, title in enumerate(titles)}


def _order(path: Path, names: list[str] | None, found: EmbeddingSet, rows: int) -> list[int]:
    """For each embedding the row of the file that is about it."""
    if names is None:
        if rows != len(found):
            raise ConfigError(f"{path}: expected {len(found)} rows, one an embedding, got {rows}. Add a column name.")
        return list(range(rows))
    if not found.names:
        raise ConfigError(f"{path}: has names, but the embeddings have none. Leave the column out, or embed anew.")
    at = {name: row for row, name in enumerate(names)}
    if len(at) < len(names):
        twice = next(name for row, name in enumerate(names) if at[name] != row)
        raise ConfigError(f"{path}: {twice!r} stands there twice. Give each name once.")
    form = next((form for form in FORMS if any(form(name) in at for name in found.names)), str)
    keys = [form(name) for name in found.names]
    known = set(keys)
    missing, strange = [key for key in keys if key not in at], [name for name in names if name not in known]
    for what, which in (("has no row for", missing), ("names, but the embeddings do not have,", strange)):
        if which:
            raise ConfigError(f"{path}: {what} {len(which)} of {len(found)}, such as {which[0]!r}.")
    if len(known) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ConfigError(f"{path}: several embeddings are called {twice!r}. Write their names with folders.")
    return [at[key] for key in keys]


def numbered(path: Path, what: str, texts: list[str], kinds: tuple[str, ...]) -> tuple[Labels, tuple[str, ...]]:
    """Numbers of texts, -1 for empty ones, and the kinds that they number."""
    given = {text for text in texts if text}
    if not kinds:
        whole = all(text.isdecimal() for text in given)
        kinds = tuple(sorted(given, key=lambda text: (int(text), text) if whole else (0, text)))
    number = {kind: at for at, kind in enumerate(kinds)}
    strange = sorted(given - number.keys())
    if strange:
        raise ConfigError(f"{path}: {what} {strange[0]!r} is none of {len(kinds)}, such as {kinds[0]!r}.")
    return np.array([number[text] if text else -1 for text in texts], np.int64), kinds
