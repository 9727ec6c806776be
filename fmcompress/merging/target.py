"""The growing files of a merge: sized up front, their headers first, written in place from several threads."""

import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from torch import Tensor, uint8

from ..checkpoint import TensorEntry, sync, write_error
from ..errors import CheckpointError
from .layout import Shard


class Target:
    """Shards that are being written into a folder. finish() makes them durable, close() must be called.

    Raises DiskError if one cannot be written.
    """

    def __init__(self, folder: Path, shards: Sequence[Shard]) -> None:
        self.folder = folder
        self._handles: dict[str, int] = {}  # of files that are being written
        self._missing = {shard.name: set(shard.entries) for shard in shards}
        self._lock = threading.Lock()
        self._disk, self._syncs = ThreadPoolExecutor(1), list[Future[None]]()  # waits, so that no worker has to
        for shard in shards:
            self._begin(shard)

    def _begin(self, shard: Shard) -> None:
        path = self.folder / shard.name
        try:
            with path.open("xb") as file:
                file.write(len(shard.header).to_bytes(8, "little") + shard.header)
                file.truncate(shard.size)
        except OSError as error:
            raise write_error(path, error) from None

    def write(self, entry: TensorEntry, begin: int, values: Tensor) -> None:
        """Write values of a tensor from entry `begin` on."""
        view, at = values.view(uint8).numpy().data, entry.offset + begin * values.itemsize
        try:
            handle = self._handle(entry.path.name)
            while view:
                count = os.pwrite(handle, view, at)
                view, at = view[count:], at + count
        except OSError as error:
            raise write_error(self.folder / entry.path, error) from None

    def _handle(self, name: str) -> int:
        with self._lock:
            if name not in self._handles:
                self._handles[name] = os.open(self.folder / name, os.O_WRONLY)
            return self._handles[name]

    def tensor_done(self, entry: TensorEntry) -> None:
        """All of a tensor is written; with the last of a file, that is synced and closed while others grow."""
        name = entry.path.name
        with self._lock:
            self._missing[name].remove(entry.name)
            if not self._missing[name] and name in self._handles:  # not so where no tensor has entries
                os.close(self._handles.pop(name))
                self._syncs.append(self._disk.submit(self._sync, self.folder / name))

    @staticmethod
    def _sync(path: Path) -> None:
        try:
            sync(path)
        except OSError as error:
            raise write_error(path, error) from None

    def finish(self) -> None:
        """Wait for the disk. Raises CheckpointError unless every tensor of every file was written."""
        for one in self._syncs:
            one.result()
        for name, missing in self._missing.items():
            if missing:
                raise CheckpointError(f"{self.folder / name}: {min(missing)} was not written. Run again.")

    def close(self) -> None:
        """Close all files."""
        self._disk.shutdown()
        while self._handles:
            os.close(self._handles.popitem()[1])
