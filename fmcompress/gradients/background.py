"""A thread in which exchanges run beside the trainer's work, and on a GPU a stream beside the trainer's."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeVar

import torch

Result = TypeVar("Result")


class Background:
    """Runs what is submitted, one after the other: collectives must come in the same order on all ranks."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "fmcompress-gradients")
        self._streams: dict[torch.device, torch.cuda.Stream] = {}
        self._closed = False

    def submit(self, work: Callable[[], Result]) -> Future[Result]:
        """Raises RuntimeError after close()."""
        return self._thread.submit(work)

    def after(self, device: torch.device) -> AbstractContextManager[None]:
        """For the thread to enter: after all that the device has been told until now, in a stream of the thread's own.

        In the stream that the caller uses, an exchange would wait for the rest of the backward pass. The thread's own
        default would be the first device's, wherever the tensors are.
        """
        if device.type != "cuda":
            return nullcontext()
        if device not in self._streams:
            self._streams[device] = torch.cuda.Stream(device)
        return _entered(device, self._streams[device], torch.cuda.current_stream(device).record_event())

    def wait(self) -> None:
        """Until everything is done that was submitted, on the devices as well."""
        if not self._closed:
            self.submit(lambda: None).result()
        for stream in self._streams.values():
            stream.synchronize()

    def close(self) -> None:
        """Stop the thread after what was submitted. Again: nothing."""
        self._closed = True
        self._thread.shutdown()


@contextmanager
def _entered(device: torch.device, stream: torch.cuda.Stream, ready: torch.cuda.Event) -> Iterator[None]:
    with torch.cuda.device(device), torch.cuda.stream(stream):
        stream.wait_event(ready)
        yield
