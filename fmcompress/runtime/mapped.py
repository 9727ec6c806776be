"""Tensors that are views of mapped files: nothing is read before it is used, and processes share what is."""

import mmap
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoint import Checkpoint, TensorEntry
from ..errors import DiskError


class MappedTensors:
    """The tensors of checkpoint files on the CPU. Writing to one changes memory, never the file."""

    def __init__(self) -> None:
        self._files: dict[Path, mmap.mmap] = {}

    def tensor(self, entry: TensorEntry) -> Tensor:
        """One tensor in its own dtype; a copy where the file does not align it. Raises DiskError.

        Each has a storage of its own, so that saving one does not save the file.
        """
        if entry.offset % entry.dtype.itemsize or not entry.size_bytes:
            return Checkpoint.read_entry(entry)
        file = self._file(entry.path)
        if len(file) < entry.offset + entry.size_bytes:
            raise DiskError(f"{entry.path}: has become shorter while it was read.")
        flat = torch.frombuffer(file, dtype=entry.dtype, count=prod(entry.shape), offset=entry.offset)
        return flat.view(entry.shape)

    def _file(self, path: Path) -> mmap.mmap:
        if path not in self._files:
            try:
                with path.open("rb") as file:
                    self._files[path] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
            except (OSError, ValueError) as error:
                raise DiskError(f"{path}: cannot be mapped ({' '.join(str(error).split())[:200]}).") from None
        return self._files[path]
