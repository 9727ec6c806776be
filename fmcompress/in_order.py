"""Work on tensors in a few threads, results in order, and no more tensors at once than fit the largest one."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")
THREADS = 2
LEAST_BYTES = 1 << 25  # so many may be in work in any case


def in_order(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    size_bytes: Callable[[Item], int],
    threads: int = THREADS,
    least_bytes: int = LEAST_BYTES,
) -> Iterator[Result]:
    """work(item) for each item, in order. Reading, hashing, deflating, NumPy and torch let other threads run meanwhile.

    The results that wait and the items in work have at most the bytes of the largest item together, or `least_bytes`.
    """
    sizes = [size_bytes(item) for item in items]
    room, held, at = max([least_bytes, *sizes]), 0, 0
    waiting: deque[tuple[Future[Result], int]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            while at < len(items) or waiting:
                while at < len(items) and len(waiting) < 2 * threads and held + sizes[at] <= room:
                    waiting.append((pool.submit(work, items[at]), sizes[at]))
                    held += sizes[at]
                    at += 1
                future, size = waiting.popleft()
                yield future.result()
                held -= size
        finally:
            for future, _ in waiting:
                future.cancel()


@contextmanager
def one_thread_an_op() -> Iterator[None]:
    """While several threads work: they share the cores, and an op that took them all would only wait."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
