"""The embeddings of one model on disk: shards that a manifest names; nothing else counts."""

import fcntl
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoint import sync, write_error
from ..checkpoint.layout import read_header, read_metadata
from ..errors import CheckpointError, FmcompressError, in_one_line
from ..files import sha256_of, write_json
from .files import map_tensor, write_tensors
from .vectors import UNIT, Matrix, squared_lengths

FORMAT = "fmcompress-embedding-cache 1"
MANIFEST, LOCK = "manifest.json", "lock"
KEY_BYTES = 32


class Store:
    """Shards of one identity: keys [rows, 32] bytes and embeddings [rows, dim] float32, mapped.

    place     its folder, made when something is written first
    key       of the identity; each shard names it

    Raises CheckpointError if a shard is missing, damaged, of another width or identity than the manifest says.
    """

    def __init__(self, place: Path, key: str, identity: dict[str, Any], dim: int) -> None:
        self.place, self.key, self.identity, self.dim = place, key, identity, dim
        self._shards: list[dict[str, Any]] = []  # as in the manifest
        self._vectors: list[Matrix] = []
        self._at: dict[bytes, tuple[int, int]] = {}  # key of an item -> shard, row
        self._read()

    def __contains__(self, key: bytes) -> bool:
        return key in self._at

    def append(self, keys: Sequence[bytes], vectors: Matrix) -> None:
        """Add embeddings [keys, dim]: a shard, then its line in the manifest, each on disk before the next step."""
        with self._locked():
            self._read()  # what other processes have added
            name = f"{len(self._shards):06d}.safetensors"
            arrays: dict[str, Matrix] = {
                "embeddings": np.ascontiguousarray(vectors, np.float32),
                "keys": np.frombuffer(b"".join(keys), np.uint8).reshape(-1, KEY_BYTES),
            }
            write_tensors(self.place / name, arrays, {"format": FORMAT, "identity": self.key})
            line = {"file": name, "rows": len(keys), "sha256": sha256_of(self.place / name).hex()}
            facts = {"format": FORMAT, "identity": self.identity, "dim": self.dim, "shards": [*self._shards, line]}
            write_json(self.place / MANIFEST, facts)
            sync(self.place)
            self._read()

    def gather(self, keys: Sequence[bytes]) -> Matrix:
        """Their embeddings [keys, dim] float32. Raises CheckpointError for a row that is not of length 1."""
        where = np.array([self._at[key] for key in keys], np.int64).reshape(-1, 2)
        found = np.empty((len(keys), self.dim), np.float32)
        for number in np.unique(where[:, 0]):
            chosen = where[:, 0] == number
            rows = self._vectors[number][where[chosen, 1]]
            self._check_unit(number, rows)
            found[chosen] = rows
        return found

    def verify(self) -> int:
        """Read everything; how many rows there are. Raises CheckpointError as gather does, and for other bytes."""
        if self.place.name != self.key[:32]:
            raise _damaged(self.place, "lies in the folder of another model")
        for number, line in enumerate(self._shards):
            path = self.place / line["file"]
            if sha256_of(path).hex() != line["sha256"]:
                raise _damaged(path, "holds other bytes than were written")
            self._check_unit(number, self._vectors[number])
        return len(self._at)

    def _read(self) -> None:
        if not (self.place / MANIFEST).exists():
            return
        facts = read_manifest(self.place)
        if facts["identity"] != self.identity or facts["dim"] != self.dim:
            raise _damaged(self.place / MANIFEST, "is of another model")
        for line in facts["shards"][len(self._shards) :]:
            keys, vectors = self._open(line)
            self._at.update((key, (len(self._vectors), row)) for row, key in enumerate(keys))
            self._vectors.append(vectors)
            self._shards.append(line)

    def _open(self, line: dict[str, Any]) -> tuple[list[bytes], Matrix]:
        path = self.place / line["file"]
        try:
            entries, metadata = read_header(path), read_metadata(path)
            keys, vectors = (map_tensor(path, entries[name]) for name in ("keys", "embeddings"))
        except (FmcompressError, KeyError) as error:
            raise _damaged(path, in_one_line(error)) from None
        if metadata.get("identity") != self.key:
            raise _damaged(path, "is of another model")
        rows = line["rows"]
        shapes, kinds = (keys.shape, vectors.shape), (keys.dtype.str, vectors.dtype.str)
        if shapes != ((rows, KEY_BYTES), (rows, self.dim)) or kinds != ("|u1", "<f4"):
            raise _damaged(path, "has other rows or columns than the manifest says")
        return [row.tobytes() for row in keys], vectors

    def _check_unit(self, number: int, rows: Matrix) -> None:
        lengths = np.sqrt(squared_lengths(rows))
        if not (abs(lengths - 1) <= UNIT).all():
            raise _damaged(self.place / self._shards[number]["file"], "holds rows that are not of length 1")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.place.mkdir(parents=True, exist_ok=True)
            with (self.place / LOCK).open("w") as handle:
                fcntl.flock(handle, fcntl.LOCK_EX)  # gone with the handle
                yield
        except OSError as error:
            raise write_error(self.place, error) from None


def read_manifest(place: Path) -> dict[str, Any]:
    """What a model's folder holds. Raises CheckpointError if it does not parse."""
    path = place / MANIFEST
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if facts["format"] != FORMAT:
            raise _damaged(path, f"is of format {in_one_line(facts['format'], 60)}, not {FORMAT}")
        names = [(str(line["file"]), int(line["rows"]), str(line["sha256"])) for line in facts["shards"]]
        if not all(name == Path(name).name for name, _, _ in names) or not isinstance(facts["identity"], dict):
            raise ValueError("names files elsewhere")
        return {**facts, "dim": int(facts["dim"])}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(path, f"does not parse ({in_one_line(error)})") from None


def _damaged(path: Path, what: str) -> CheckpointError:
    folder = path if path.is_dir() else path.parent
    return CheckpointError(f"{path}: {what}. Remove the folder {folder} and embed again.")
