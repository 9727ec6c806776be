"""Blocks of one tensor of several checkpoints, read straight into one buffer that is used again."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from math import prod

import torch
from torch import Tensor

from ..checkpoint import TensorEntry, read_error
from ..errors import CheckpointError
from .method import Blocks
from .open_models import Source, named

GRAIN = 4096  # entries: blocks begin at multiples of it


class BlockReader:
    """Reads blocks of tensors for one thread.

    block_entries  of one model, at most; a multiple of 4096
    """

    def __init__(self, block_entries: int) -> None:
        self.block_entries = max(GRAIN, block_entries // GRAIN * GRAIN)
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
        with contextlib.ExitStack() as stack:
            readers = [self._reader(one, name, stack) for one in models]
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
        size = prod(entry.shape)
        with contextlib.ExitStack() as stack:
            readers = [self._reader(*each, stack) for each in (one, other)]
            for begin in range(0, size, self.block_entries):
                block = self.buffer("compared", (2, min(self.block_entries, size - begin)), entry.dtype)
                for row, reader in zip(block, readers, strict=True):
                    reader(row, begin)
                if not torch.equal(block[0].view(torch.uint8), block[1].view(torch.uint8)):
                    return False
        return True

    def _reader(self, model: Source, name: str, stack: contextlib.ExitStack) -> "_Plain | _Whole":
        if not model.is_plain:
            return _Whole(model, name)
        return _Plain(self, model.checkpoint.tensors[name], stack)


class _Plain:
    """Entries that stand in a file as they are, open until the stack is closed."""

    def __init__(self, reader: BlockReader, entry: TensorEntry, stack: contextlib.ExitStack) -> None:
        self.reader, self.entry = reader, entry
        try:
            self._handle = os.open(entry.path, os.O_RDONLY)
        except OSError as error:
            raise read_error(entry.path, error) from None
        stack.callback(os.close, self._handle)

    def __call__(self, row: Tensor, begin: int) -> None:
        """Fill a row with the entries from `begin` on. Raises DiskError or CheckpointError."""
        dtype = self.entry.dtype
        own = row if row.dtype == dtype else self.reader.buffer("narrow", (len(row),), dtype)
        self._fill(own.view(torch.uint8).numpy().data, self.entry.offset + begin * dtype.itemsize)
        if own is not row:
            row.copy_(own)

    def _fill(self, view: memoryview, at: int) -> None:
        try:
            while view:
                count = os.preadv(self._handle, [view], at)
                if not count:
                    raise CheckpointError(f"{self.entry.path}: ends inside tensor {self.entry.name!r}. Fetch it again.")
                view, at = view[count:], at + count
        except OSError as error:
            raise read_error(self.entry.path, error) from None


class _Whole:
    """A tensor that must be decoded whole."""

    def __init__(self, model: Source, name: str) -> None:
        self.model, self.name = model, name
        self.tensor: Tensor | None = None

    def __call__(self, row: Tensor, begin: int) -> None:
        """Fill a row with the entries from `begin` on."""
        if self.tensor is None:
            with named(self.model.label):
                self.tensor = self.model.checkpoint.read(self.name).reshape(-1)
        row.copy_(self.tensor[begin : begin + len(row)])
