"""Similarities of objects to prompts, and the files that hold them."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, in_one_line
from .text_tables import SEPARATORS, read_rows

Matrix = NDArray[np.float64]
LARGEST = 1e100  # a number whose square can be summed
FORMS = ".csv, .tsv, .npy, .npz or .json"


@dataclass(frozen=True)
class Scores:
    """How alike each object and each candidate prompt are.

    values   [objects, prompts] float64, within 1e100 of 0; larger is more alike
    objects  names of the rows, all different; empty if unknown
    prompts  names of the columns, all different; numbers from 0 if unknown

    Raises ConfigError for anything else.
    """

    values: Matrix
    objects: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        values = np.asarray(self.values)
        if values.ndim != 2 or not values.size or values.dtype.kind not in "fiub":
            raise ConfigError(
                f"scores: expected a matrix [objects, prompts] of numbers, got {list(values.shape)} of {values.dtype}."
            )
        values = np.ascontiguousarray(values, np.float64)
        wrong = ~(abs(values) <= LARGEST)
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise ConfigError(
                f"scores: expected finite numbers up to {LARGEST:g}, got {values[row, column]} in row {row}, "
                f"column {column} ({int(wrong.sum())} such). Compute them again."
            )
        for kind, names, count in (
            ("objects", self.objects, values.shape[0]),
            ("prompts", self.prompts, values.shape[1]),
        ):
            if names and len(names) != count:
                raise ConfigError(f"{kind}: expected {count} names, one for each, got {len(names)}.")
            refuse_doubles(kind, names)
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "objects", tuple(self.objects))
        object.__setattr__(self, "prompts", tuple(self.prompts) or tuple(map(str, range(values.shape[1]))))

    def object_name(self, row: int) -> str:
        """What to call a row."""
        return self.objects[row] if self.objects else f"row {row}"


def refuse_doubles(kind: str, names: Any) -> None:
    """ConfigError if a name is empty, no text, or stands there twice."""
    seen: set[str] = set()
    for name in names:
        if not isinstance(name, str) or not name:
            raise ConfigError(f"{kind}: expected names, got {in_one_line(repr(name), 80)}.")
        if name in seen:
            raise ConfigError(f"{kind}: {name!r} stands there twice. Give each a name of its own.")
        seen.add(name)


def read_scores(path: str | Path, objects: str | Path | None = None, prompts: str | Path | None = None) -> Scores:
    """Scores of a file; numbers are never unpickled.

    .csv, .tsv  a first line of names of prompts behind a cell that says nothing, then a line an object, name first
    .npy        the matrix alone
    .npz        the matrix as `scores`, or as the only one; names as `objects` and `prompts`, if any
    .json       {"scores": [[…]], "objects": […], "prompts": […]}, names if any; or the lists of numbers alone

    objects, prompts  files of names, one a line or a JSON list, for scores that have none of their own

    Raises ConfigError in one line.
    """
    path = Path(path)
    if path.suffix in SEPARATORS:
        found = _of_table(path)
    elif path.suffix in (".npy", ".npz"):
        found = _of_numpy(path)
    elif path.suffix == ".json":
        found = _of_json(path)
    else:
        raise ConfigError(f"{path}: expected scores as {FORMS}.")
    for kind, names in (("objects", objects), ("prompts", prompts)):
        if names is not None:
            if found.get(kind):
                raise ConfigError(f"{path}: names its {kind} itself. Leave {names} out.")
            found[kind] = _names(names)
    try:
        return Scores(**found)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def scores_of_embeddings(
    path: str | Path,
    text: str | Path,
    objects: str | Path | None = None,
    prompts: str | Path | None = None,
    normalise: bool = False,
) -> Scores:
    """Cosines of embeddings of objects with those of prompts, as `fmcompress clip embed` writes both, or as .npy.

    normalise  give rows length 1; without it rows of another length are an error

    Raises ConfigError, also for embeddings of two models, CheckpointError for a damaged file.
    """
    from ..clip.files import read_embeddings, require_same_model

    ours, theirs = read_embeddings(path, normalise=normalise), read_embeddings(text, normalise=normalise)
    require_same_model(ours, theirs, ("objects", "prompts"))
    names = [
        _names(given)
        if given is not None
        else found.names or found.classes
        if len(found.classes) == len(found)
        else found.names
        for found, given in ((ours, objects), (theirs, prompts))
    ]
    values = ours.vectors.astype(np.float64) @ theirs.vectors.T.astype(np.float64)
    return Scores(values, names[0], names[1])


def _names(path: str | Path) -> tuple[str, ...]:
    from ..clip.lists import read_names

    return read_names(path)


def _of_table(path: Path) -> dict[str, Any]:
    head, *rows = read_rows(path)
    if len(head) < 2 or not rows:
        raise ConfigError(f"{path}: expected a line of prompts and a line an object, got {len(rows)} objects.")
    try:
        values = np.array([[float(cell) for cell in row[1:]] for row in rows])
    except ValueError as error:
        raise ConfigError(f"{path}: expected numbers behind each name, but {in_one_line(error)}.") from None
    return {"values": values, "objects": tuple(row[0] for row in rows), "prompts": tuple(head[1:])}


def _of_numpy(path: Path) -> dict[str, Any]:
    try:
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return {"values": found}
        with found:
            arrays = {name: found[name] for name in found.files}
    except (OSError, ValueError, EOFError, KeyError, MemoryError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{path}: no array that numpy reads without pickle ({in_one_line(error)}).") from None
    names: dict[str, Any] = {}
    for kind in ("objects", "prompts"):
        if kind in arrays:
            names[kind] = tuple(arrays.pop(kind).ravel().tolist())
    key = "scores" if "scores" in arrays else next(iter(arrays), "")
    if key not in arrays or (key != "scores" and len(arrays) > 1):
        raise ConfigError(f"{path}: expected an array 'scores', got {in_one_line(', '.join(arrays)) or 'none'}.")
    return {"values": arrays[key], **names}


def _of_json(path: Path) -> dict[str, Any]:
    from ..clip.lists import read_json

    given = read_json(path)
    found = dict(given) if isinstance(given, dict) else {"scores": given}
    strange = sorted(found.keys() - {"scores", "objects", "prompts"})
    if strange or "scores" not in found:
        raise ConfigError(f"{path}: expected scores, and objects and prompts if any, got {in_one_line(sorted(found))}.")
    rows = found.pop("scores")
    numbers = isinstance(rows, list) and all(
        isinstance(row, list) and all(isinstance(one, int | float) for one in row) for row in rows
    )
    if not numbers or len({len(row) for row in rows}) != 1:
        raise ConfigError(f"{path}: expected scores as lists of numbers, each as long as the others.")
    if not all(isinstance(names, list) for names in found.values()):
        raise ConfigError(f"{path}: expected objects and prompts as lists of names.")
    return {"values": np.array(rows), **{kind: tuple(names) for kind, names in found.items()}}
