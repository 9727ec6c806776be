"""Raw data of a task from a file or a folder: examples in the files' order, with splits that share nothing."""

import gzip
import lzma
import math
import random
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from glob import glob
from pathlib import Path
from typing import Any

from ..checkpoint import read_error
from ..errors import ConfigError
from .examples import Example, parse_json, read_examples
from .tasks import Task

_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open}
_KINDS = (".json", ".jsonl", ".tsv")
_SPLIT = re.compile(r"(?:^|[_.-])(train|valid|val|dev|test)(?=[_.-]|$)")
_CALLED = {"val": "valid", "dev": "valid"}
VALID_SHARE = 0.1


@dataclass(frozen=True)
class RawData:
    """What was read.

    examples  those of train, with the rows of valid among them where these were carved from it, then valid, then test
    left_out  why rows are not among them -> how many
    """

    examples: list[Example]
    left_out: dict[str, int] = field(default_factory=dict)


def read_data(
    task: Task,
    path: Path,
    *,
    valid_share: float = VALID_SHARE,
    seed: int = 0,
    completions: Sequence[Path] = (),
) -> RawData:
    """Examples of a task.

    path         a file of raw records or of Examples (.json, .jsonl, .tsv, also .gz or .xz), or a folder with files
                 whose names have train, dev or valid, or test between _, - or dots
    valid_share  of train that becomes valid, where there is no file of it; without a file of train, valid is taken for
                 it. Rows of one family (Task) stay together
    seed         decides which rows these are
    completions  files of a teacher's texts in the order of the rows: JSON lists, of the split that their name has

    Files of Examples that have splits keep them. Raises ConfigError for what does not parse or fit, DiskError for what
    cannot be read.
    """
    if not 0 <= valid_share < 1:
        raise ConfigError(f"valid share: expected 0 or more and less than 1, got {valid_share}.")
    left_out: Counter[str] = Counter()
    told = _texts_by_split(completions)
    by_split = {split: _examples(task, files, left_out, told) for split, files in _files(path).items()}
    if told:
        raise ConfigError(
            f"completions of {', '.join(split or 'no split' for split in told)}: {path} has no such rows. Leave them "
            "out, or let the file's name have its split."
        )
    if any(one.split for some in by_split.values() for one in some):
        return RawData([one for some in by_split.values() for one in some], dict(left_out))
    if "train" not in by_split and "valid" in by_split:
        by_split = {"train": by_split.pop("valid"), **by_split}
    marked = {split: [replace(one, split=split) for one in some] for split, some in by_split.items()}
    held = {task.family(one.input) for split in ("valid", "test") for one in marked.get(split or "", [])}
    train = [one for one in marked.get("train", []) if task.family(one.input) not in held]
    left_out["in valid or test too"] += len(marked.get("train", [])) - len(train)
    if "train" in marked:
        marked["train"] = train if "valid" in marked else _carved(task, train, valid_share, seed)
    return RawData([one for some in marked.values() for one in some], dict(+left_out))


def completion_files(given: Sequence[str]) -> list[Path]:
    """Files of completions: each word names one, a folder of them (.json, also packed), or is a pattern with * or ?.

    Raises ConfigError for a word that names none.
    """
    found: list[Path] = []
    for word in given:
        path = Path(word)
        some = _in_folder(path, (".json",)) if path.is_dir() else [path] if path.is_file() else map(Path, glob(word))
        if not (files := _in_order(list(some))):
            raise ConfigError(f"--completions {word}: there is no such file, nor a folder with JSON lists of texts.")
        found += files
    return found


def read_records(path: Path) -> list[Any]:
    """The records of a file: a JSON list, JSON lines, or a table with tabs and a header, whose records are mappings.

    Raises ConfigError, with the line, for what does not parse; DiskError if the file cannot be read.
    """
    try:
        with _OPENERS.get(path.suffix, open)(path, "rb") as file:
            text = file.read().decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: expected UTF-8 text.") from None
    except (gzip.BadGzipFile, EOFError, lzma.LZMAError, zlib.error) as error:
        raise ConfigError(f"{path}: does not unpack ({error}). Fetch it again.") from None
    except OSError as error:
        raise read_error(path, error) from None
    if _kind(path) == ".tsv":
        return list(_table(path, text))
    lines = [(line, f"{path}, line {n}") for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    found = [parse_json(text, str(path))] if text.lstrip().startswith("[") else [parse_json(*line) for line in lines]
    return found[0] if found and isinstance(found[0], list) else found


def _table(path: Path, text: str) -> Iterator[Mapping[str, str]]:
    names, *rows = [line.rstrip("\r").split("\t") for line in text.split("\n") if line.strip()] or [[]]
    for number, row in enumerate(rows, 2):
        if len(row) != len(names):
            raise ConfigError(f"{path}, row {number}: expected {len(names)} columns, as the header, got {len(row)}.")
        yield dict(zip(names, row, strict=True))


def _kind(path: Path) -> str:
    return path.with_suffix("").suffix if path.suffix in _OPENERS else path.suffix


def _split_of(path: Path) -> str | None:
    found = _SPLIT.search(path.name.lower())
    return _CALLED.get(found[1], found[1]) if found else None


def _in_order(paths: Sequence[Path]) -> list[Path]:
    """By name, with train_10 after train_9."""
    return sorted(paths, key=lambda path: [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", path.name)])


def _in_folder(path: Path, kinds: Sequence[str]) -> list[Path]:
    return [one for one in path.iterdir() if one.is_file() and _kind(one) in kinds] if path.is_dir() else []


def _files(path: Path) -> dict[str | None, list[Path]]:
    """Files by split, in the order train, valid, test. Raises ConfigError if there is none."""
    if path.is_file():
        if _kind(path) not in _KINDS:
            raise ConfigError(f"{path}: expected a file ending in {', '.join(_KINDS)}, also with .gz or .xz.")
        return {_split_of(path): [path]}
    found: dict[str | None, list[Path]] = {}
    there = _in_order(
        [one for one in path.iterdir() if one.is_file() and _kind(one) in _KINDS] if path.is_dir() else []
    )
    for split in ("train", "valid", "test"):
        if some := [one for one in there if _split_of(one) == split]:
            found[split] = some
    if not found:
        raise ConfigError(
            f"{path}: expected a file, or a folder with files such as train.jsonl and test.jsonl. There is none."
        )
    return found


def _texts_by_split(paths: Sequence[Path]) -> dict[str | None, list[str]]:
    found: dict[str | None, list[str]] = {}
    for path in _in_order(paths):
        texts = read_records(path)
        if not all(isinstance(text, str) for text in texts):
            raise ConfigError(f"{path}: expected a JSON list of texts, the completions of the rows in their order.")
        found.setdefault(_split_of(path), []).extend(texts)
    return found


def _examples(
    task: Task, files: Sequence[Path], left_out: Counter[str], told: dict[str | None, list[str]]
) -> list[Example]:
    """Those of the files of one split, with the completions that belong to them, which are taken out of told."""
    rows: list[Example | None] = []
    for path in files:
        records = read_records(path)
        if path.suffix == ".jsonl" and records and isinstance(records[0], dict) and "input" in records[0]:
            rows += read_examples(path)
        else:
            rows += [task.example(one, f"{path}, record {number}") for number, one in enumerate(records, 1)]
    if not any(rows):
        raise ConfigError(f"{files[0]}: expected records of task {task.name}, got none.")
    texts = told.pop(_split_of(files[0]), None)
    if texts is not None:
        if len(texts) != len(rows):
            raise ConfigError(f"completions: expected {len(rows)}, one for each row of {files[0]}, got {len(texts)}.")
        rows = [one and replace(one, completion=text) for one, text in zip(rows, texts, strict=True)]
    left_out["no gold label"] += rows.count(None)
    return [one for one in rows if one]


def _carved(task: Task, train: list[Example], share: float, seed: int) -> list[Example]:
    """The rows in their order, with whole families drawn into valid until it has its share."""
    sizes = Counter(task.family(one.input) for one in train)
    families, wanted = list(sizes), math.ceil(share * len(train))
    held: set[str] = set()
    random.Random(seed).shuffle(families)
    while wanted > 0 and len(held) < len(families) - 1:
        wanted -= sizes[families[len(held)]]
        held.add(families[len(held)])
    return [replace(one, split="valid") if task.family(one.input) in held else one for one in train]
