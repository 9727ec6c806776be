"""The growing files of a merge: sized up front, their headers first, written in place from several threads."""

import os
import threading
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, uint8

from ..checkpoint import TensorEntry, write_error
from ..errors import CheckpointError
from .layout import Shard


class Target:
    """Shards that are being written into a folder. finish() makes them durable, close() must be called.

    Raises DiskError if one cannot be written.
    """

    def __init__(self, folder: Path, shards: Sequence[Shard]) -> None:
        self.folder = folder
        self._handles: dict[str, int] = {}
        self._missing = {shard.name: set(shard.entries) for shard in shards}
        self._lock = threading.Lock()
        try:
            for shard in shards:
                self._begin(shard)
        except BaseException:
            self.close()
            raise

    def _begin(self, shard: Shard) -> None:
        path = self.folder / shard.name
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o666)
            self._handles[shard.name] = handle
            os.ftruncate(handle, shard.size)
        except OSError as error:
            raise write_error(path, error) from None
        self._write(shard.name, memoryview(len(shard.header).to_bytes(8, "little") + shard.header), 0)

    def write(self, entry: TensorEntry, begin: int, values: Tensor) -> None:
        """Write values of a tensor from entry `begin` on."""
        view = values.view(uint8).numpy().data
        self._write(entry.path.name, view, entry.offset + begin * values.itemsize)

    def _write(self, name: str, view: memoryview, offset: int) -> None:
        try:
            while view:
                count = os.pwrite(self._handles[name], view, offset)
                view, offset = view[count:], offset + count
        except OSError as error:
            raise write_error(self.folder / name, error) from None

    def tensor_done(self, entry: TensorEntry) -> None:
        """All of a tensor is written; with the last of a file, that is synced while others grow."""
        with self._lock:
            missing = self._missing[entry.path.name]
            missing.remove(entry.name)
        if not missing:
            self._sync(entry.path.name)

    def _sync(self, name: str) -> None:
        try:
            os.fsync(self._handles[name])
        except OSError as error:
            raise write_error(self.folder / name, error) from None

    def finish(self) -> None:
        """Raise CheckpointError unless every tensor of every file was written."""
        for name, missing in self._missing.items():
            if missing:
                raise CheckpointError(f"{self.folder / name}: {min(missing)} was not written. Run again.")

    def close(self) -> None:
        """Close all files."""
        while self._handles:
            os.close(self._handles.popitem()[1])
