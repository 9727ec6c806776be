"""What each object is labelled as: tasks of yes and no, one a class, and the files that hold them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, in_one_line
from .score_files import refuse_doubles
from .text_tables import SEPARATORS, read_lines, read_rows

UNKNOWN = ("", "-1", "-1.0")
YES: dict[tuple[str, ...], str] = {
    ("0", "1"): "1",
    ("0.0", "1.0"): "1.0",  # as tables write whole numbers where others are missing
    ("false", "true"): "true",
    ("no", "yes"): "yes",
}  # of two such labels one is the task


@dataclass(frozen=True)
class Labels:
    """The class of each object.

    numbers  [objects] int64: a number of `classes`, or -1 where unknown
    classes  their names, at least two of which an object has
    """

    numbers: NDArray[np.int64]
    classes: tuple[str, ...]

    @property
    def unknown(self) -> int:
        """How many objects have no label; no verdict speaks of them."""
        return int((self.numbers < 0).sum())

    def tasks(self) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        """(class, whether each object is of it): one of labels 0 and 1, false and true or no and yes; else all."""
        yes = YES.get(tuple(sorted(name.lower() for name in self.classes)))
        for number, name in enumerate(self.classes):
            if yes is None or name.lower() == yes:
                yield name, self.numbers == number


def labels_of(given: Sequence[Any]) -> Labels:
    """Labels of texts, whole numbers, true or false, in the order of the objects; None, "" and -1 are unknown.

    Classes are sorted, by value if all are whole numbers. Raises ConfigError for another kind and for fewer than two.
    """
    texts = [_text(label) for label in given]
    known = {text for text in texts if text not in UNKNOWN}
    if len(known) < 2:
        told = f"only {known.pop()!r}" if known else "none"
        raise ConfigError(f"labels: expected objects of at least two classes, got {told}. A task needs yes and no.")
    whole = all(text.isdecimal() for text in known)
    classes = tuple(sorted(known, key=lambda text: (*_value(text), text) if whole else text))
    number = {name: at for at, name in enumerate(classes)}
    return Labels(np.array([number.get(text, -1) for text in texts], np.int64), classes)


def read_labels(path: str | Path, objects: Sequence[str], count: int, *, partial: bool = False) -> Labels:
    """Labels of a file, by name where both it and the scores have names, else by order.

    .csv, .tsv  columns name and label, in either order, with these titles; or label alone
    .json       {"name": label, …}, or a list
    .txt        a label a line

    objects  names of the objects; none if they are unknown
    count    how many objects there are
    partial  whether an object that the file does not name is unknown; else that is an error

    Raises ConfigError for missing, unknown and doubled names, for another number of labels, and as labels_of does.
    """
    path = Path(path)
    found = _read(path)
    try:
        if isinstance(found, dict) and objects:
            return labels_of(_by_name(found, objects, partial))
        if isinstance(found, dict):
            raise ConfigError("has names, but the scores have none. Name them with --objects.")
        if partial:
            raise ConfigError("expected names beside the labels, as a hierarchy has no order. Add a column name.")
        if len(found) != count:
            raise ConfigError(f"expected {count} labels, one an object, got {len(found)}. Label all, unknown as -1.")
        return labels_of(found)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _by_name(found: Mapping[str, Any], objects: Sequence[str], partial: bool) -> list[Any]:
    known = set(objects)
    strange = [name for name in found if name not in known]
    missing = [name for name in objects if name not in found]
    for what, which in (("names no object has,", strange), ("no label for objects,", [] if partial else missing)):
        if which:
            raise ConfigError(f"{what} {len(which)} such, as {in_one_line(repr(which[0]), 80)}. Call them alike.")
    return [found.get(name) for name in objects]


def _read(path: Path) -> dict[str, Any] | list[Any]:
    if path.suffix in SEPARATORS:
        return _of_table(path)
    if path.suffix == ".json":
        from ..clip.lists import read_json

        return read_json(path)
    if path.suffix == ".txt":
        return list(read_lines(path))
    raise ConfigError(f"{path}: expected labels as .csv, .tsv, .json or .txt.")


def _of_table(path: Path) -> dict[str, Any] | list[Any]:
    head, *rows = read_rows(path)
    if sorted(head) not in (["label"], ["label", "name"]):
        raise ConfigError(f"{path}: expected a first line of name and label, got {in_one_line(head)}.")
    labels = [row[head.index("label")] for row in rows]
    if "name" not in head:
        return labels
    names = [row[head.index("name")] for row in rows]
    try:
        refuse_doubles("names", names)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return dict(zip(names, labels, strict=True))


def _value(digits: str) -> tuple[int, str]:
    """What orders whole numbers by value, however long they are."""
    bare = digits.lstrip("0")
    return len(bare), bare


def _text(label: Any) -> str:
    if label is None:
        return ""
    if isinstance(label, bool | np.bool_):
        return str(int(label))
    if isinstance(label, str | int | np.integer):
        return str(label).strip()
    raise ConfigError(f"labels: expected texts or whole numbers, got {in_one_line(repr(label), 80)}.")
