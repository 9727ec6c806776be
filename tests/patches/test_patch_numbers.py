"""Distances between floats, and numbers in streams."""

import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_patch_reader import moved as plainly_moved
from plain_patch_reader import stream as plain_stream

from fmcompress.patches.numbers import UNSIGNED, bits_of, distance, moved, ordered
from fmcompress.patches.streams import BLOCK, read_stream, write_stream

ALL = np.arange(1 << 16, dtype=np.uint16)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_images_ascend_with_the_floats(dtype: torch.dtype) -> None:
    values = torch.from_numpy(ALL).view(dtype).float().numpy()
    finite = ~np.isnan(values)
    image = ordered(ALL, True).view(np.int16)[finite].astype(int)
    order = np.argsort(image)
    assert len(set(image.tolist())) == len(image)
    assert (np.diff(values[finite][order]) >= 0).all()
    assert (np.diff(image[order]) == 1).all()  # and none is left out
    at = {float(bits): int(ordered(np.array([bits], np.uint16), True).view(np.int16)[0]) for bits in (0, 0x8000)}
    assert at == {0.0: 0, 32768.0: -1}  # -0.0 is the neighbour of 0.0


@pytest.mark.parametrize("floats", [True, False])
@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_every_pair_comes_back(width: int, floats: bool) -> None:
    draws = np.random.default_rng(0).integers(0, 256, (2, 4096 * width), dtype=np.uint8)
    before, after = (row.view(UNSIGNED[width]) for row in draws)
    special = np.array([0, 1, (1 << 8 * width) - 1, 1 << (8 * width - 1), (1 << (8 * width - 1)) - 1], UNSIGNED[width])
    before = np.concatenate([before, np.repeat(special, 5)])
    after = np.concatenate([after, np.tile(special, 5)])
    apart = distance(before, after, floats)
    assert (moved(before, apart, floats) == after).all()
    assert ((apart == 0) == (before == after)).all()
    plain = [plainly_moved(int(b), int(a), width, floats) for b, a in zip(before[-99:], apart[-99:], strict=True)]
    assert plain == after[-99:].tolist()


def test_small_changes_are_small_numbers() -> None:
    values = torch.tensor([1.0, -1.0, 0.0])
    up, down = (torch.nextafter(values, torch.tensor(to)) for to in (9.0, -9.0))
    assert distance(bits_of(values), bits_of(up), True).tolist() == [2, 2, 2]
    assert distance(bits_of(values), bits_of(down), True).tolist() == [
        1,
        1,
        3,
    ]  # -0.0 lies between 0.0 and what follows


def whole(data: bytes, count: int, width: int) -> list[int]:
    found = [block.tolist() for _, _, block in read_stream(np.frombuffer(data, np.uint8), count, width)]
    return [number for block in found for number in block]


@settings(derandomize=True, deadline=None, max_examples=60, database=None)
@given(st.sampled_from([1, 2, 4, 8]), st.lists(st.integers(0, (1 << 64) - 1), max_size=300), st.integers(0, 64))
def test_streams_come_back(width: int, numbers: list[int], zeros: int) -> None:
    array = np.array([n >> zeros for n in numbers], np.uint64).astype(UNSIGNED[width])
    data = write_stream(len(array), lambda begin, end: array[begin:end])
    assert whole(data, len(array), width) == array.tolist() == plain_stream(data, len(array), width)


def test_streams_of_several_blocks_come_back_and_are_small() -> None:
    array = np.zeros(2 * BLOCK + 5, np.uint32)
    array[::7] = np.random.default_rng(0).integers(0, 200, len(array[::7]))
    data = write_stream(len(array), lambda begin, end: array[begin:end])
    assert whole(data, len(array), 4) == array.tolist() == plain_stream(data, len(array), 4)
    assert len(data) < 2.2 * len(array[::7])  # a byte of the number and its place
    noise = np.random.default_rng(0).integers(0, 1 << 16, BLOCK, dtype=np.uint16)
    assert len(write_stream(BLOCK, lambda begin, end: noise[begin:end])) == 2 * BLOCK + 8  # stored as it is
    assert len(write_stream(BLOCK, lambda begin, end: array[:BLOCK] * 0)) == 16  # zeros cost nothing


def lengths(*each: int) -> bytes:
    return np.array(each, "<u4").tobytes()


BOMB = zlib.compress(bytes(1 << 24), 9)
WRONG = {
    "no lengths": (b"", 5, 1),
    "cut": (lengths(3) + b"ab", 5, 1),
    "too long": (lengths(3) + b"abcd", 5, 1),
    "no zlib": (lengths(3) + b"abc", 5, 1),
    "bomb": (lengths(len(BOMB)) + BOMB, 1 << 17, 1),
    "too little": (lengths(len(zlib.compress(b"aaaa"))) + zlib.compress(b"aaaa"), 50, 1),
    "rest after it": (lengths(len(zlib.compress(bytes(50))) + 1) + zlib.compress(bytes(50)) + b"x", 50, 1),
    "cut zlib": (lengths(len(zlib.compress(bytes(50))) - 1) + zlib.compress(bytes(50))[:-1], 50, 1),
    "lengths that wrap": (lengths(1, (1 << 32) - 1) + b"", 5, 2),
    "a claim of terabytes": (lengths(0), 1 << 45, 4),
    "not of zero numbers": (b"x", 0, 4),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_stream_is_refused(case: str) -> None:
    data, count, width = WRONG[case]
    with pytest.raises(ValueError, match=r"stream|chunk"):
        whole(data, count, width)
