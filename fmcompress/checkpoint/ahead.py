"""Reading tensors before they are asked for."""

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from torch import Tensor

from .reader import Checkpoint

THREADS = 4


class ReadAhead:
    """A checkpoint some of whose tensors threads read meanwhile: those that were announced last.

    What was announced and not asked for is forgotten with the next announcement.
    """

    def __init__(self, source: Checkpoint) -> None:
        self.source = source
        self._pool: ThreadPoolExecutor | None = None
        self._reading: dict[str, Future[Tensor]] = {}

    def announce(self, names: Iterable[str]) -> None:
        """Begin to read some tensors, which take their memory from now on, unless just these wait already."""
        wanted = list(dict.fromkeys(names))
        if list(self._reading) == wanted:
            return
        for future in self._reading.values():
            future.cancel()
        self._pool = self._pool or ThreadPoolExecutor(THREADS, "fmcompress-read")
        self._reading = {name: self._pool.submit(self.source.read, name) for name in wanted}

    def read(self, name: str) -> Tensor:
        """See Checkpoint.read; an announced tensor is given once, and read anew after that."""
        future = self._reading.pop(name, None)
        return self.source.read(name) if future is None else future.result()
