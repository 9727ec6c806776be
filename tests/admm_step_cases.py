"""Steps of the ADMM search that every implementation must get right, to the bit, checked against the reference."""

from collections.abc import Callable, Iterator

import torch
from packing_cases import same_bytes, shifted
from torch import Tensor

from fmcompress import reference

PENALTIES = (0.3, 0.37)  # their ratio is no float
# rows, cols, then prune, keep, group, by_row
CASES = [
    *[(0, 8, 0, 2, 4, False), (7, 0, 0, 0, 0, True), (0, 5, 0, 0, 0, False), (1, 1, 1, 0, 0, False)],
    *[(37, 64, 0, 2, 4, False), (9, 1032, 0, 4, 8, False), (5, 7, 0, 1, 1, False), (3, 10, 0, 1, 2, False)],
    *[(5, 123, 0, 1, 3, False), (3, 64, 0, 7, 32, False), (2, 128, 0, 128, 128, False), (1, 600, 0, 70, 300, False)],
    *[(33, 65, 0, 0, 0, True), (33, 65, 31, 0, 0, True), (4, 129, 129, 0, 0, True), (300, 7, 1, 0, 0, True)],
    *[(33, 65, 0, 0, 0, False), (33, 65, 1072, 0, 0, False), (4, 65, 260, 0, 0, False), (3, 1500, 1, 0, 0, False)],
]
Step = tuple[Tensor, Tensor, Tensor, Tensor]  # x, dual, kept, target


def inputs(rows: int, cols: int, dtype: torch.dtype, kind: str) -> Step:
    """x, dual, kept and target; of kind "ties" sums coincide in size, and some are zeros of both signs or not finite."""
    source = torch.Generator().manual_seed(rows + 1000 * cols)
    x, dual, target = (torch.randn(rows, cols, generator=source, dtype=dtype) for _ in range(3))
    if kind == "ties":
        x, dual = (x * 2).round() / 2, (dual * 2).round() / 2
        for value in (float("nan"), float("inf"), -float("inf"), -0.0):
            x[torch.rand(rows, cols, generator=source) < 0.03] = value
        dual[x == 0] = x[x == 0]
        target[::2] = -0.0
    kept = torch.rand(rows, cols, generator=source) < 0.5
    return (shifted(x), shifted(dual), shifted(kept), target) if kind == "unaligned" else (x, dual, kept, target)


def all_inputs(rows: int, cols: int) -> Iterator[tuple[tuple, Step]]:
    for dtype in (torch.float32, torch.float64):
        for kind in ("smooth", "unaligned", "ties"):
            yield (dtype, kind), inputs(rows, cols, dtype, kind)


def same_numbers(actual: Tensor, expected: Tensor) -> bool:
    """Equal in every bit, but for those of a NaN, which no standard fixes."""
    return same_bytes(actual.masked_fill(actual.isnan(), 0.5), expected.masked_fill(expected.isnan(), 0.5)) and (
        torch.equal(actual.isnan(), expected.isnan())
    )


def copies(step: Step) -> Step:
    """Of what changes, as aligned as the originals are."""
    changes = [shifted(t) if t.numel() and t.data_ptr() % 16 else t.clone() for t in step[:3]]
    return *changes, step[3]


def check_admm_step(admm_step_: Callable[..., Tensor], cases: list[tuple] = CASES) -> None:
    """All that changes, and the count, bit for bit; the target stays."""
    for case in cases:
        rows, cols, prune, keep, group, by_row = case
        for what, given in all_inputs(rows, cols):
            expected, actual, target = copies(given), copies(given), given[3].clone()
            numbers = (*PENALTIES, prune, keep, group, by_row)
            expected_changed = reference.admm_step_(*expected, *numbers)
            changed = admm_step_(*actual, *numbers)
            assert (changed.dtype, changed.shape) == (torch.int64, ()), (case, what)
            assert changed.item() == expected_changed.item(), (case, what)
            assert torch.equal(actual[2], expected[2]), (case, what)
            assert same_numbers(actual[1], expected[1]), (case, what)
            assert same_numbers(actual[0], expected[0]), (case, what)
            assert same_bytes(given[3], target), (case, what)
