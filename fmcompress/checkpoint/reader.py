"""Reads tensors one at a time and maps no file: memory and address space stay those of one tensor."""

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import CheckpointError, DiskError
from .layout import INDEX, TensorEntry, find_entry, read_layout

_SAMPLES, _SAMPLE_BYTES = 16, 1 << 16


class Checkpoint:
    """A safetensors checkpoint on disk, in the Hugging Face layout.

    folder   where it lies
    tensors  name -> TensorEntry
    stored   the same of what stands in the files, which may be in another form

    Raises CheckpointError if it is missing, damaged or contradicts itself.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.tensors: dict[str, TensorEntry] = read_layout(self.folder)
        self.stored = self.tensors

    @property
    def total_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(entry.size_bytes for entry in self.tensors.values())

    @property
    def shards(self) -> list[Path]:
        """The files that hold tensors, sorted."""
        return sorted({entry.path for entry in self.tensors.values()})

    def in_shard(self, shard: Path) -> list[str]:
        """The names of the tensors in a file."""
        return [name for name, entry in self.tensors.items() if entry.path == shard]

    @cached_property
    def config(self) -> dict[str, Any]:
        """config.json as a dict."""
        try:
            config = json.loads((self.folder / "config.json").read_text())
        except FileNotFoundError:
            raise CheckpointError(
                f"{self.folder}: holds no config.json. Give the folder of a whole checkpoint."
            ) from None
        except (OSError, ValueError, RecursionError):
            raise CheckpointError(f"{self.folder / 'config.json'}: not valid JSON. Fetch it again.") from None
        if not isinstance(config, dict):
            raise CheckpointError(f"{self.folder / 'config.json'}: expected a JSON object.")
        return config

    def read(self, name: str) -> Tensor:
        """One tensor, or a slice NAME[INDEX] of one, in its own dtype, on the CPU.

        Raises CheckpointError if it is absent, unreadable or cut short.
        """
        return self.read_entry(self.entry(name))

    def entry(self, name: str) -> TensorEntry:
        """Where a tensor lies, or a slice NAME[INDEX] of one. Raises CheckpointError if there is none."""
        found = find_entry(self.tensors, name)
        if found is None:
            raise CheckpointError(f"{self.folder}: holds no tensor {name!r}.")
        return found

    @staticmethod
    def read_entry(entry: TensorEntry) -> Tensor:
        """One tensor, from where an entry says. Raises DiskError or CheckpointError if it cannot be read whole."""
        buffer = torch.empty(entry.size_bytes, dtype=torch.uint8)
        if entry.size_bytes:
            try:
                with entry.path.open("rb", buffering=0) as file:
                    file.seek(entry.offset)
                    _read_into(file, buffer.numpy().data, entry)
            except OSError as error:
                raise DiskError(f"{entry.path}: cannot be read ({error.strerror}).") from None
        return buffer.view(entry.dtype).view(entry.shape)

    def digest(self) -> str:
        """sha256 that tells checkpoints apart without reading all of a large one.

        Covers config.json, the index, and of each shard its size, header and 16 samples of 64 KiB.
        """
        sha = hashlib.sha256()
        for path in (self.folder / "config.json", self.folder / INDEX):
            sha.update(path.read_bytes() if path.exists() else b"-")
        for path in self.shards:
            size = path.stat().st_size
            sha.update(f"{path.name} {size}".encode())
            with path.open("rb") as file:
                sha.update(file.read(8 + int.from_bytes(file.read(8), "little")))
                for sample in range(_SAMPLES):
                    file.seek(size * sample // _SAMPLES)
                    sha.update(file.read(_SAMPLE_BYTES))
        return sha.hexdigest()


def _read_into(file: Any, view: memoryview, entry: TensorEntry) -> None:
    done = 0
    while done < len(view):
        count = file.readinto(view[done : done + (1 << 30)])
        if not count:
            raise CheckpointError(f"{entry.path}: ends inside tensor {entry.name!r}. Fetch the file again.")
        done += count
