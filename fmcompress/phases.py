"""Where the seconds of a run go."""

import contextlib
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TypeVar

T = TypeVar("T")


class Phases:
    """Wall time of this process by phase, as sums.

    seconds  phase -> seconds. Nothing waits for a GPU in order to be measured: what is launched in one phase may be
             waited for in a later one.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Count what passes inside, also where it ends in an error."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin

    @contextlib.contextmanager
    def entering(self, name: str, context: AbstractContextManager[T]) -> Iterator[T]:
        """Count only the beginning of another context, which lasts as long as this one."""
        with contextlib.ExitStack() as stack:
            with self.of(name):
                value = stack.enter_context(context)
            yield value

    def rounded(self) -> dict[str, float]:
        """For a file."""
        return {name: round(seconds, 6) for name, seconds in self.seconds.items()}
