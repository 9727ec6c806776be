"""Tensors that are views of mapped files: nothing is read before it is used, and processes share what is."""

from pathlib import Path

import torch
from torch import Tensor

from ..checkpoint import Checkpoint, TensorEntry
from ..errors import DiskError


class MappedTensors:
    """The tensors of checkpoint files on the CPU. Writing to one changes memory, never the file."""

    def __init__(self) -> None:
        self._files: dict[Path, Tensor] = {}

    def tensor(self, entry: TensorEntry) -> Tensor:
        """One tensor in its own dtype; a copy where the file does not align it. Raises DiskError."""
        if entry.offset % entry.dtype.itemsize or not entry.size_bytes:
            return Checkpoint.read_entry(entry)
        file = self._file(entry.path)
        if len(file) < entry.offset + entry.size_bytes:
            raise DiskError(f"{entry.path}: has become shorter while it was read.")
        return file[entry.offset : entry.offset + entry.size_bytes].view(entry.dtype).view(entry.shape)

    def _file(self, path: Path) -> Tensor:
        if path not in self._files:
            try:
                size = path.stat().st_size
                self._files[path] = torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8)
            except (OSError, RuntimeError) as error:
                raise DiskError(f"{path}: cannot be mapped ({' '.join(str(error).split())[:200]}).") from None
        return self._files[path]
