"""Shapes and values that every implementation of the pruning ops must get right, checked against the reference."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from fmcompress import reference

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-10}
SEGMENTS = [(3, 1), (0, 7), (9, 7), (2, 128), (2, 129), (3, 1000), (1, 5000)]
GROUPS = [
    (0, 8, 2, 4),
    (5, 1, 1, 1),
    (5, 123, 1, 3),
    (130, 128, 2, 4),
    (9, 128, 4, 8),
    (7, 96, 16, 32),
    (2, 300, 70, 150),
]
MASKED = [(0, 8), (4, 0), (1, 1), (5, 123), (130, 128), (33, 18)]
CHOSEN = [
    *[(0, 8, 2, 4), (5, 4, 1, 4), (130, 128, 2, 4), (33, 60, 1, 4), (37, 64, 4, 8), (5, 123, 1, 3), (66, 64, 16, 32)],
    *[(3, 128, 64, 128), (4, 6, 1, 2), (4, 6, 1, 3), (9, 41, 20, 41), (3, 123, 20, 41), (6, 5, 1, 1), (2, 1, 1, 1)],
]


def awkward_scores(shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """Few distinct values, so that ties abound, and everything that is not an ordinary number."""
    source = torch.Generator().manual_seed(shape[0] + 1000 * shape[1])
    scores = (torch.randn(shape, generator=source, dtype=dtype) * 2).round() / 2
    for value in (float("nan"), float("inf"), -float("inf"), -0.0):
        scores[torch.rand(shape, generator=source) < 0.05] = value
    return scores


def smooth_scores(shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """No ties, and a wide range."""
    source = torch.Generator().manual_seed(shape[0] + 1000 * shape[1])
    return torch.randn(shape, generator=source, dtype=dtype) ** 5


def check_select(select_smallest: Callable[[Tensor, int], Tensor], segments: list[tuple[int, int]] = SEGMENTS) -> None:
    """The mask must be the reference's, bit for bit, whatever the count."""
    for dtype in TOLERANCE:
        for shape in segments:
            for values in (awkward_scores, smooth_scores):
                scores = values(shape, dtype)
                for count in sorted({0, min(1, shape[1]), shape[1] // 2, shape[1]}):
                    expected = reference.select_smallest(scores, count)
                    assert torch.equal(select_smallest(scores, count), expected), (dtype, shape, values.__name__, count)


def check_groups(nm_mask: Callable[[Tensor, int, int], Tensor]) -> None:
    """The same for keep:group."""
    for dtype in TOLERANCE:
        for rows, cols, keep, group in GROUPS:
            scores = awkward_scores((rows, cols), dtype)
            expected = reference.nm_mask(scores, keep, group)
            assert torch.equal(nm_mask(scores, keep, group), expected), (dtype, rows, cols, keep, group)


def sweep_inputs(rows: int, cols: int, dtype: torch.dtype) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Weight and factor; below the diagonal the factor is NaN, which nobody may read."""
    source = torch.Generator().manual_seed(rows + 1000 * cols)
    below = torch.ones(cols, cols, dtype=torch.bool).tril(-1)
    weight = torch.randn(rows, cols, generator=source, dtype=dtype)
    factor = torch.randn(cols, cols, generator=source, dtype=dtype) / (2 * max(cols, 1) ** 0.5)
    factor.diagonal().copy_(torch.rand(cols, generator=source, dtype=dtype) + 0.5)
    yield "smooth", weight, factor.masked_fill(below, float("nan"))
    # with integers and an identity every product is exact, so even a tie must fall the same way
    ties = (weight * 2).round()
    ties[::3][torch.rand(ties[::3].shape, generator=source) < 0.02] = float("nan")
    ties[1::3][torch.rand(ties[1::3].shape, generator=source) < 0.02] = float("inf")
    yield "ties, not all finite", ties, torch.eye(cols, dtype=dtype)


def check_sweep(sweep_block_: Callable[..., Tensor]) -> None:
    """Zeros in the same places, everything else within the tolerance of the dtype."""
    cases = [(*shape, 0, 0) for shape in MASKED] + CHOSEN
    for dtype, tolerance in TOLERANCE.items():
        for rows, cols, keep, group in cases:
            prune = None if group else torch.rand(rows, cols, generator=torch.Generator().manual_seed(rows)) < 0.5
            for name, weight, factor in sweep_inputs(rows, cols, dtype):
                case = (dtype, rows, cols, keep, group, name)
                expected, actual = weight.clone(), weight.clone()
                expected_loss = reference.sweep_block_(expected, factor, prune, keep, group)
                loss = sweep_block_(actual, factor, prune, keep, group)
                _compare(case, actual, expected, tolerance)
                _compare(case, loss, expected_loss, tolerance)
                assert torch.equal(actual == 0, expected == 0), case
                assert prune is None or not torch.signbit(actual[prune]).any(), case


def _compare(case: tuple, actual: Tensor, expected: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(
        actual, expected, rtol=tolerance, atol=tolerance, equal_nan=True, msg=lambda text: f"{case}: {text}"
    )
