"""Codes and bitmasks that every implementation of the packing ops must get right, checked against the reference."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from fmcompress import reference

BITS = (2, 3, 4, 8)
PACKED = [(3, 0), (1, 1), (3, 7), (9, 31), (5, 32), (4, 33), (130, 64), (2, 1000), (3, 1029), (1, 9003)]


def shifted(tensor: Tensor) -> Tensor:
    """The same values, contiguous, but one element past where a wide load could start."""
    whole = torch.empty(tensor.numel() + 1, dtype=tensor.dtype, device=tensor.device)
    return whole[1:].view(tensor.shape).copy_(tensor)


def same_bytes(actual: Tensor, expected: Tensor) -> bool:
    """Equal in every bit, NaN and -0 too."""
    alike = actual.shape == expected.shape and actual.dtype == expected.dtype
    return alike and torch.equal(actual.contiguous().view(torch.uint8), expected.contiguous().view(torch.uint8))


def any_bytes(rows: int, cols: int) -> Tensor:
    source = torch.Generator().manual_seed(rows + 1000 * cols)
    return torch.randint(256, (rows, cols), generator=source, dtype=torch.uint8)


def check_pack_codes(pack_codes: Callable[[Tensor, int], Tensor]) -> None:
    """Every bit, whatever stands above the code in its byte."""
    for rows, cols in PACKED:
        codes = any_bytes(rows, cols)
        for bits in BITS:
            for layout in (codes, shifted(codes)):
                assert same_bytes(pack_codes(layout, bits), reference.pack_codes(codes, bits)), (rows, cols, bits)
    assert pack_codes(any_bytes(0, 33), 4).shape == (0, 20)


def check_unpack_codes(unpack_codes: Callable[[Tensor, int, int], Tensor]) -> None:
    """Every code, whatever stands after the last one."""
    for rows, cols in PACKED:
        for bits in BITS:
            packed = any_bytes(rows, (cols * bits + 31) // 32 * 4)
            for layout in (packed, shifted(packed)):
                expected = reference.unpack_codes(packed, bits, cols)
                assert same_bytes(unpack_codes(layout, bits, cols), expected), (rows, cols, bits)
    assert unpack_codes(any_bytes(0, 20), 4, 33).shape == (0, 33)


def sparse_cases() -> Iterator[tuple[tuple, Tensor, Tensor]]:
    """Values of every size, and masks of every density."""
    for dtype in (torch.uint8, torch.int8, torch.float16, torch.bfloat16, torch.float32, torch.int32, torch.bool):
        for rows, cols in PACKED:
            values = any_bytes(1, rows * cols * dtype.itemsize)[0]
            values = ((values & 1).bool() if dtype == torch.bool else values.view(dtype)).view(rows, cols)
            for density in (0.0, 0.5, 1.0) if dtype == torch.float16 else (0.5,):
                mask = torch.rand(rows, cols, generator=torch.Generator().manual_seed(cols)) < density
                yield (dtype, rows, cols, density), values, mask


def refuses(call: Callable[[], object]) -> bool:
    """Whether the call raises what the contract promises for a wrong argument."""
    try:
        call()
    except ValueError:
        return True
    return False


def check_pack_bitmask(pack_bitmask: Callable[..., tuple[Tensor, Tensor]]) -> None:
    """Every bit, and a wrong count is refused."""
    for case, values, mask in sparse_cases():
        count = int(mask.sum())
        bitmask, kept = reference.pack_bitmask(values, mask, count)
        for change in (lambda tensor: tensor, shifted):
            actual_bitmask, actual_kept = pack_bitmask(change(values), change(mask), count)
            assert same_bytes(actual_bitmask, bitmask), case
            assert same_bytes(actual_kept, kept), case
    bitmask, kept = pack_bitmask(any_bytes(0, 33), torch.ones(0, 33, dtype=torch.bool), 0)
    assert (bitmask.shape, kept.shape) == ((0, 5), (0,))
    values, mask = any_bytes(3, 70), any_bytes(3, 70) < 100
    count = int(mask.sum())
    assert all(refuses(lambda wrong=wrong: pack_bitmask(values, mask, wrong)) for wrong in (0, count - 1, count + 1))


def check_unpack_bitmask(unpack_bitmask: Callable[[Tensor, Tensor, int], Tensor]) -> None:
    """Every bit; a wrong number of values and bits after the last column are refused."""
    for case, values, mask in sparse_cases():
        cols = values.shape[1]
        bitmask, kept = reference.pack_bitmask(values, mask, int(mask.sum()))
        expected = reference.unpack_bitmask(bitmask, kept, cols)
        for change in (lambda tensor: tensor, shifted):
            assert same_bytes(unpack_bitmask(change(bitmask), change(kept), cols), expected), case
    assert unpack_bitmask(any_bytes(0, 5), any_bytes(1, 0)[0], 33).shape == (0, 33)
    mask = any_bytes(3, 69) < 100
    bitmask, kept = reference.pack_bitmask(any_bytes(3, 69), mask, int(mask.sum()))
    for wrong in (kept[:0], kept[1:], torch.cat([kept, kept])):
        assert refuses(lambda wrong=wrong: unpack_bitmask(bitmask, wrong, 69))
    for row, bit in ((0, 5), (1, 7), (2, 6)):
        stray = bitmask.clone()
        stray[row, -1] |= 1 << bit
        assert refuses(lambda stray=stray: unpack_bitmask(stray, kept, 69)), (row, bit)
        assert refuses(lambda stray=stray: unpack_bitmask(stray, torch.cat([kept, kept[:1]]), 69)), (row, bit)
