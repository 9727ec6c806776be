"""Shapes and values that every implementation of an op must get right, checked against the reference."""

from collections.abc import Callable, Iterator

import pytest
import torch
from packing_cases import BITS, same_bytes, shifted
from packing_cases import check_pack_bitmask as check_pack_bitmask
from packing_cases import check_pack_codes as check_pack_codes
from packing_cases import check_unpack_bitmask as check_unpack_bitmask
from packing_cases import check_unpack_codes as check_unpack_codes
from packing_cases import refuses as refuses
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


def check_select(select_smallest: Callable[..., Tensor], segments: list[tuple[int, int]] = SEGMENTS) -> None:
    """The mask must be the reference's, bit for bit, whatever the count."""
    for dtype in TOLERANCE:
        for shape in segments:
            for values in (awkward_scores, smooth_scores):
                scores = values(shape, dtype)
                for count in sorted({0, min(1, shape[1]), shape[1] // 2, shape[1]}):
                    expected = reference.select_smallest(scores, count)
                    assert torch.equal(select_smallest(scores, count), expected), (dtype, shape, values.__name__, count)
                expected = reference.select_smallest(scores, shape[1] // 2, by_magnitude=True)
                assert torch.equal(select_smallest(scores, shape[1] // 2, by_magnitude=True), expected), (dtype, shape)


def check_groups(nm_mask: Callable[..., Tensor]) -> None:
    """The same for keep:group."""
    for dtype in TOLERANCE:
        for rows, cols, keep, group in GROUPS:
            scores = awkward_scores((rows, cols), dtype)
            for by_magnitude in (False, True):
                expected = reference.nm_mask(scores, keep, group, by_magnitude)
                found = nm_mask(scores, keep, group, by_magnitude=by_magnitude)
                assert torch.equal(found, expected), (dtype, rows, cols, keep, group, by_magnitude)


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


# Grids and codes

SEARCHES = [(4, True, 1), (2, False, 1), (3, False, 1), (8, True, 1), (3, False, 9), (4, True, 13)]
MATRICES = [(0, 8), (1, 1), (3, 7), (130, 32), (5, 33), (9, 128), (7, 700), (2, 1030), (1, 5003)]


def grid_weights(rows: int, cols: int, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """Ordinary weights, weights full of ties, and rows of one sign, of zeros and of what is not finite."""
    source = torch.Generator().manual_seed(rows + 1000 * cols)
    weight = torch.randn(rows, cols, generator=source, dtype=dtype)
    yield "smooth", weight
    yield "unaligned", shifted(weight)
    yield "ties", (weight * 4).round() / 8
    odd = weight.clone()
    odd[0::7] = 0.0
    odd[1::7] = weight[1::7].abs()
    odd[2::7] = -weight[2::7].abs()
    odd[3::7] *= 1e-38 if dtype == torch.float32 else 1e-308
    odd[4::7, -1:] = float("nan")
    odd[5::7, :1] = float("inf")
    odd[6::7] = -0.0
    yield "odd rows", odd


def squared_errors(weight: Tensor, scale: Tensor, zero: Tensor, bits: int) -> Tensor:
    """Of each segment, in float64."""
    weight, scale = weight.double(), scale.double()
    codes = reference.quantize(weight, scale, zero, bits)
    return (reference.dequantize(codes, scale, zero) - weight).square().sum(1)


def check_search_grid(search_grid: Callable[..., tuple[Tensor, Tensor]]) -> None:
    """Plain min-max bit for bit; a search may settle on another candidate if it is as good."""
    for dtype, tolerance in TOLERANCE.items():
        for rows, cols in MATRICES:
            for name, weight in grid_weights(rows, cols, dtype):
                for bits, symmetric, candidates in SEARCHES:
                    case = (dtype, rows, cols, name, bits, symmetric, candidates)
                    scale, zero = search_grid(weight, bits, symmetric, candidates)
                    expected, expected_zero = reference.search_grid(weight, bits, symmetric, candidates)
                    assert (scale.dtype, zero.dtype) == (dtype, torch.uint8), case
                    assert scale.shape == zero.shape == (rows,), case
                    if candidates == 1:
                        assert same_bytes(scale, expected), case
                        assert torch.equal(zero, expected_zero), case
                        continue
                    finite = weight.isfinite().all(1)
                    alike = ~(weight.abs() > 1e-30).any(1) | ~finite  # all errors are 0, or none is a number
                    assert torch.equal(scale[alike], expected[alike]), case
                    assert torch.equal(zero[alike], expected_zero[alike]), case
                    given = [t[finite] for t in (weight, scale, zero)]
                    wanted = [t[finite] for t in (weight, expected, expected_zero)]
                    _compare(case, squared_errors(*given, bits), squared_errors(*wanted, bits), tolerance)
        huge = torch.tensor([[-0.7, 0.2, 1.0]], dtype=dtype) * torch.finfo(dtype).max ** 0.75  # squares overflow
        for candidates in (1, 5):
            scale, zero = search_grid(huge, 3, False, candidates)
            assert scale.item() == pytest.approx(1.7 / 7 * huge[0, 2].item(), rel=1e-6), dtype
            assert zero.item() == 3, dtype


def grids(rows: int, bits: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """A scale and a zero for each row, all zeros from the first to the last code."""
    source = torch.Generator().manual_seed(rows + bits)
    scale = torch.rand(rows, generator=source, dtype=dtype) + 0.1
    scale[::2] = 0.25  # weights in quarters then fall half-way between two levels
    return scale, torch.randint(2**bits, (rows,), generator=source, dtype=torch.uint8)


def check_quantize(quantize: Callable[..., Tensor]) -> None:
    """Codes bit for bit, infinities at the ends of the range."""
    for dtype in TOLERANCE:
        for rows, cols in MATRICES:
            for name, weight in grid_weights(rows, cols, dtype):
                for bits in BITS:
                    scale, zero = grids(rows, bits, dtype)
                    finite = weight.nan_to_num(nan=0.0, posinf=float("inf"), neginf=-float("inf"))
                    weight = shifted(finite) if name == "unaligned" else finite
                    expected = reference.quantize(weight, scale, zero, bits)
                    assert torch.equal(quantize(weight, scale, zero, bits), expected), (dtype, rows, cols, name, bits)


def check_dequantize(dequantize: Callable[..., Tensor]) -> None:
    """Every code there is, bit for bit."""
    for dtype in TOLERANCE:
        for rows, cols in MATRICES:
            codes = torch.arange(rows * cols).mul(37).to(torch.uint8).view(rows, cols)
            scale, zero = grids(rows, 8, dtype)
            expected = reference.dequantize(codes, scale, zero)
            for layout in (codes, shifted(codes)):
                actual = dequantize(layout, scale, zero)
                assert actual.dtype == dtype, (dtype, rows, cols)
                assert torch.equal(actual, expected), (dtype, rows, cols)


def check_joint_sweep(joint_sweep_block_: Callable[..., tuple[Tensor, Tensor]]) -> None:
    """As check_sweep; a float that falls between two levels may go either way, so a few rows of float32 may differ."""
    cases = [(*shape, 0, 0) for shape in MASKED] + CHOSEN
    for dtype, tolerance in TOLERANCE.items():
        for index, (rows, cols, keep, group) in enumerate(cases):
            bits = BITS[index % len(BITS)]
            source = torch.Generator().manual_seed(rows)
            some = torch.rand(rows, cols, generator=source) < 0.5
            for name, weight, factor in sweep_inputs(rows, cols, dtype):
                for prune in [None] if group else [None, some]:
                    for width in sorted({1, cols} - {0}):
                        scale = torch.rand(rows, width, generator=source, dtype=dtype) + 0.2
                        scale = scale if name == "smooth" else torch.full_like(scale, 0.75)
                        zero = torch.randint(2**bits, scale.shape, generator=source, dtype=torch.uint8)
                        case = (dtype, rows, cols, keep, group, bits, name, prune is None, width)
                        expected, actual = weight.clone(), weight.clone()
                        expected_loss, expected_codes = reference.joint_sweep_block_(
                            expected, factor, prune, scale, zero, bits, keep, group
                        )
                        loss, codes = joint_sweep_block_(actual, factor, prune, scale, zero, bits, keep, group)
                        assert (codes.dtype, codes.shape) == (torch.uint8, weight.shape), case
                        number = ~expected.isnan()  # the code of NaN means nothing
                        same = ((codes == expected_codes) | ~number).all(1)
                        assert (~same).sum() <= (rows // 30 if dtype == torch.float32 else 0), case
                        _compare(case, actual[same], expected[same], tolerance)
                        _compare(case, loss[same], expected_loss[same], tolerance)
                        assert torch.equal(actual[same] == 0, expected[same] == 0), case
                        assert not torch.signbit(actual[actual == 0]).any(), case
