"""Work on tensors in two threads, results in order, and no more tensors at once than fit the largest one."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
THREADS = 2
LEAST_BYTES = 1 << 25  # so many may be in work in any case


def in_order(
    work: Callable[[Item], Result], items: Sequence[Item], size_bytes: Callable[[Item], int]
) -> Iterator[Result]:
    """work(item) for each item, in order. Hashing, deflating and NumPy let other threads run meanwhile.

    The results that wait and the items in work have at most the bytes of the largest item together, or 32 MiB.
    """
    sizes = [size_bytes(item) for item in items]
    room, held, at = max([LEAST_BYTES, *sizes]), 0, 0
    waiting: deque[tuple[Future[Result], int]] = deque()
    with ThreadPoolExecutor(THREADS) as pool:
        try:
            while at < len(items) or waiting:
                while at < len(items) and len(waiting) < 2 * THREADS and held + sizes[at] <= room:
                    waiting.append((pool.submit(work, items[at]), sizes[at]))
                    held += sizes[at]
                    at += 1
                future, size = waiting.popleft()
                yield future.result()
                held -= size
        finally:
            for future, _ in waiting:
                future.cancel()
