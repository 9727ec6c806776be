"""Numbers in few bytes: split in byte planes, each plane of each block deflated where that makes it smaller.

A stream of n numbers of w bytes has a block for every 2^18 of them, and in a block w chunks, the lowest bytes first.
It begins with the length of every chunk in 4 bytes. A chunk of no bytes stands for zeros, one as long as its plane is
the plane itself, any other is a zlib stream of it.
"""

import zlib
from collections.abc import Callable, Iterator

import numpy as np

from .numbers import UNSIGNED, Bits

BLOCK = 1 << 18  # numbers; their planes and what is computed with them stay in a core's cache
_SAMPLE = 1 << 14
_WORTH = 0.98  # what a sample must shrink to: deflating noise takes long and gains nothing


def blocks(count: int) -> Iterator[tuple[int, int]]:
    """(begin, end) of the blocks of so many numbers."""
    return ((begin, min(begin + BLOCK, count)) for begin in range(0, count, BLOCK))


def write_stream(count: int, part: Callable[[int, int], Bits]) -> bytes:
    """The stream of `count` numbers, of which part(begin, end) gives a block as unsigned integers."""
    chunks = [_deflated(plane) for begin, end in blocks(count) for plane in _planes(part(begin, end))]
    return np.array([len(chunk) for chunk in chunks], "<u4").tobytes() + b"".join(chunks)


def read_stream(data: Bits, count: int, width: int) -> Iterator[tuple[int, int, Bits]]:
    """(begin, end, numbers) of each block of a stream. Never makes more than a block's room, whatever the bytes say.

    data  the bytes of the stream, uint8
    Raises ValueError if they are no stream of so many numbers of so many bytes.
    """
    chunks = -(-count // BLOCK) * width
    if 4 * chunks > len(data):
        raise ValueError(f"a stream of {count} numbers needs {4 * chunks} bytes before its chunks, got {len(data)}")
    lengths = data[: 4 * chunks].view("<u4") if chunks else np.zeros(0, "<u4")
    at = 4 * chunks
    if at + int(lengths.sum(dtype=np.uint64)) != len(data):
        raise ValueError("the chunks of a stream do not fill it")
    for begin, end in blocks(count):
        planes = np.empty((width, end - begin), np.uint8)
        for plane, length in zip(planes, lengths[begin // BLOCK * width :], strict=False):
            _inflate(data[at : at + int(length)], plane)
            at += int(length)
        yield begin, end, np.ascontiguousarray(planes.T).view(UNSIGNED[width]).reshape(-1)


def _planes(numbers: Bits) -> Bits:
    return np.ascontiguousarray(numbers.view(np.uint8).reshape(len(numbers), numbers.itemsize).T)


def _deflated(plane: Bits) -> bytes:
    if not plane.any():
        return b""
    strategy = _strategy(plane)
    if strategy is not None:
        squeezed = _deflate(plane, strategy)
        if len(squeezed) < len(plane):
            return squeezed
    return plane.tobytes()


def _strategy(plane: Bits) -> int | None:
    """Runs or symbols alone, by what a sample from the middle says; None where nothing helps. Differences of weights
    have no repeated phrases: looking for them takes ten times as long and loses to both."""
    middle = max(0, (len(plane) - _SAMPLE) // 2)
    sample = plane[middle : middle + _SAMPLE]
    sizes = {strategy: len(_deflate(sample, strategy)) for strategy in (zlib.Z_RLE, zlib.Z_HUFFMAN_ONLY)}
    best = min(sizes, key=lambda strategy: sizes[strategy])
    return best if sizes[best] < _WORTH * len(sample) else None


def _deflate(plane: Bits, strategy: int) -> bytes:
    squeezer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, 9, strategy)
    return squeezer.compress(plane.data) + squeezer.flush()


def _inflate(chunk: Bits, plane: Bits) -> None:
    if not len(chunk):
        plane[:] = 0
    elif len(chunk) == len(plane):
        plane[:] = chunk
    else:
        inflating = zlib.decompressobj()
        try:
            found = inflating.decompress(chunk.data, len(plane) + 1)
        except zlib.error:
            raise ValueError("a chunk of a stream is no zlib stream") from None
        if len(found) != len(plane) or not inflating.eof or inflating.unused_data:
            raise ValueError(f"a chunk of a stream is not that of a plane of {len(plane)} bytes")
        plane[:] = np.frombuffer(found, np.uint8)
