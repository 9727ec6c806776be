"""Blocks of one tensor of several checkpoints, read straight into one buffer that is used again."""

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoint import Checkpoint, TensorEntry, read_error
from ..errors import CheckpointError
from .method import Blocks
from .open_models import Source

GRAIN = 4096  # entries: blocks begin at multiples of it


class OpenFiles:
    """Files that several threads read at once, each opened once. Closed by close()."""

    def __init__(self) -> None:
        self._handles: dict[Path, int] = {}
        self._lock = threading.Lock()

    def read_into(self, view: memoryview, entry: TensorEntry, begin: int) -> None:
        """Fill a view with the bytes of a tensor from byte `begin` on. Raises DiskError or CheckpointError."""
        at, done = entry.offset + begin, 0
        try:
            handle = self._handle(entry.path)
            while done < len(view):
                count = os.preadv(handle, [view[done:]], at + done)
                if not count:
                    raise CheckpointError(f"{entry.path}: ends inside tensor {entry.name!r}. Fetch the file again.")
                done += count
        except OSError as error:
            raise read_error(entry.path, error) from None

    def _handle(self, path: Path) -> int:
        with self._lock:
            if path not in self._handles:
                self._handles[path] = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            return self._handles[path]

    def close(self) -> None:
        """Close all of them."""
        while self._handles:
            os.close(self._handles.popitem()[1])


class BlockReader:
    """Reads blocks of tensors for one thread.

    block_entries  of one model, at most; a multiple of 4096
    """

    def __init__(self, files: OpenFiles, block_entries: int) -> None:
        self.files, self.block_entries = files, max(GRAIN, block_entries // GRAIN * GRAIN)
        self._buffers: dict[str, Tensor] = {}

    def buffer(self, use: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Memory of that shape; the same again for the same use. What was in it is anything."""
        size = prod(shape) * dtype.itemsize
        kept = self._buffers.get(use)
        if kept is None or len(kept) < size:
            kept = self._buffers[use] = torch.empty(size, dtype=torch.uint8)
        return kept[:size].view(dtype).view(shape)

    @contextlib.contextmanager
    def open(self, name: str, models: Sequence[Source], dtype: torch.dtype) -> Iterator[Blocks]:
        """Blocks of a tensor, [models, count] in dtype, which all of them fit into exactly.

        What does not stand plain in the files is read whole, once, and let go at the end.
        """
        readers = [self._reader(one, name) for one in models]
        size = prod(models[0].checkpoint.tensors[name].shape)

        def blocks() -> Iterator[tuple[int, Tensor]]:
            for begin in range(0, size, self.block_entries):
                count = min(self.block_entries, size - begin)
                block = self.buffer("block", (len(models), count), dtype)
                for row, reader in zip(block, readers, strict=True):
                    reader(row, begin)
                yield begin, block

        yield blocks

    def equal(self, one: tuple[Source, str], other: tuple[Source, str]) -> bool:
        """Whether two tensors, each of a model, have the same bytes. They must be of one shape and dtype."""
        entry = one[0].checkpoint.tensors[one[1]]
        readers, size = [self._reader(*one), self._reader(*other)], prod(entry.shape)
        for begin in range(0, size, self.block_entries):
            block = self.buffer("compared", (2, min(self.block_entries, size - begin)), entry.dtype)
            for row, reader in zip(block, readers, strict=True):
                reader(row, begin)
            if not torch.equal(block[0].view(torch.uint8), block[1].view(torch.uint8)):
                return False
        return True

    def _reader(self, model: Source, name: str) -> "_Plain | _Whole":
        entry = model.checkpoint.tensors[name]
        return _Plain(self, entry) if model.is_plain else _Whole(model.checkpoint, name)


class _Plain:
    """Entries that stand in a file as they are."""

    def __init__(self, reader: BlockReader, entry: TensorEntry) -> None:
        self.reader, self.entry = reader, entry

    def __call__(self, row: Tensor, begin: int) -> None:
        """Fill a row with the entries from `begin` on."""
        dtype = self.entry.dtype
        own = row if row.dtype == dtype else self.reader.buffer("narrow", (len(row),), dtype)
        self.reader.files.read_into(own.view(torch.uint8).numpy().data, self.entry, begin * dtype.itemsize)
        if own is not row:
            row.copy_(own)


class _Whole:
    """A tensor that must be decoded whole."""

    def __init__(self, checkpoint: Checkpoint, name: str) -> None:
        self.checkpoint, self.name = checkpoint, name
        self.tensor: Tensor | None = None

    def __call__(self, row: Tensor, begin: int) -> None:
        """Fill a row with the entries from `begin` on."""
        if self.tensor is None:
            self.tensor = self.checkpoint.read(self.name).reshape(-1)
        row.copy_(self.tensor[begin : begin + len(row)])
