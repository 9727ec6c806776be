"""Looking at all bytes of a checkpoint, piece by piece in several threads: reading alone keeps one of them busy."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

import torch

from ..in_order import in_order, one_thread_an_op
from .layout import TensorEntry

Item = TypeVar("Item")
Result = TypeVar("Result")
PIECE_BYTES = 1 << 24  # large enough to be read at full speed, small enough that a thread finds it in its cache
MOST_THREADS = 8


def row_pieces(entry: TensorEntry, piece_bytes: int = PIECE_BYTES) -> list[TensorEntry]:
    """A tensor in parts along its first axis, of about so many bytes each."""
    if not entry.shape or entry.size_bytes <= piece_bytes:
        return [entry]
    rows, row_bytes = entry.shape[0], entry.size_bytes // entry.shape[0]
    step = max(1, piece_bytes // max(1, row_bytes))
    parts = [(begin, min(step, rows - begin)) for begin in range(0, rows, step)]
    return [
        replace(entry, shape=(n, *entry.shape[1:]), offset=entry.offset + begin * row_bytes, size_bytes=n * row_bytes)
        for begin, n in parts
    ]


def look(
    work: Callable[[Item], Result], items: Sequence[Item], size_bytes: Callable[[Item], int]
) -> Iterator[tuple[Item, Result]]:
    """work(item) for each item, in order, in as many threads as an op would take, eight at most."""
    threads = min(MOST_THREADS, torch.get_num_threads())
    with one_thread_an_op():
        results = in_order(work, items, size_bytes, threads, 2 * threads * PIECE_BYTES)
        yield from zip(items, results, strict=True)
