"""The packed format: nothing is lost in any of its forms, and each of them is as small as it promises."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from compression import bare_checkpoint, bits_of, random_weight, run
from torch import Tensor

from fmcompress import ops
from fmcompress.checkpoint.layout import PACKED_SINGLE, SINGLE
from fmcompress.errors import ConfigError, PayloadError
from fmcompress.formats import open_checkpoint, packed
from fmcompress.layerwise import NM, Grid, LayerResult, Pattern, Unstructured, count_zeros
from fmcompress.pruning import magnitude
from fmcompress.quantization import round_to_nearest

FLOATS = [torch.float32, torch.bfloat16, torch.float16]
GRIDS = [
    Grid(bits, size, symmetric) for bits in (2, 3, 4, 8) for size in (32, 128, None) for symmetric in (True, False)
]
PATTERNS: list[Pattern | None] = [None, Unstructured(0.5), NM(2, 4), NM(4, 8), NM(1, 4)]


def solved(weight: Tensor, pattern: Pattern | None, grid: Grid | None) -> LayerResult:
    """A layer as a run without data leaves it."""
    if pattern is None and grid is None:
        return LayerResult(weight, 0.0, 0.0, count_zeros(weight))
    pruned = weight if pattern is None else magnitude(weight, pattern).weight
    return magnitude(weight, pattern) if grid is None else round_to_nearest(pruned, grid)  # type: ignore[arg-type]


def round_trip(result: LayerResult, pattern: Pattern | None) -> tuple[dict[str, Tensor], packed.Description]:
    """Encode, decode from what the description says as JSON, and compare bits."""
    parts, described = packed.encode(result, pattern)
    assert packed.parse_description("w", described.model_dump_json()) == described
    again = packed.parse_description("w", described.model_dump_json())
    decoded = packed.decode("w", again, parts.__getitem__)
    assert (decoded.dtype, decoded.shape) == (result.weight.dtype, result.weight.shape)
    assert bits_of(decoded).equal(bits_of(result.weight))
    assert described.shapes().keys() == parts.keys() == described.crc32.keys()
    return parts, described


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@pytest.mark.parametrize("grid", [None, *GRIDS], ids=str)
def test_nothing_is_lost(grid: Grid | None, pattern: Pattern | None, dtype: torch.dtype) -> None:
    weight = random_weight(7, 200, dtype)  # the last group of 32 holds 8 columns, that of 128 holds 72
    parts, described = round_trip(solved(weight, pattern, grid), pattern)
    assert ("values" in parts) == (grid is None)
    assert ("zero" in parts) == (grid is not None and not grid.symmetric)
    if isinstance(pattern, NM) and pattern.group == 4:
        assert parts.keys() >= {"indices"}
        assert described.pattern == packed.NMFields(keep=pattern.keep, group=4)
        assert described.kept == 7 * 200 // 4 * pattern.keep
    elif pattern is not None:  # three bits for a place of eight would cost more than a bit a weight
        assert described.masked
        assert described.kept <= 7 * 100


@pytest.mark.parametrize("grid", [None, Grid(4, 32), Grid(3, None, False), Grid(2, 5)], ids=str)
@pytest.mark.parametrize("shape", [(1, 1), (5, 37), (3, 129), (64, 7), (1, 4096), (2, 33)])
def test_odd_shapes(shape: tuple[int, int], grid: Grid | None) -> None:
    for pattern in (None, Unstructured(0.3), Unstructured(0.9)):
        round_trip(solved(random_weight(*shape, torch.bfloat16), pattern, grid), pattern)


@pytest.mark.parametrize("grid", [None, Grid(4, 32), Grid(4, 32, False), Grid(8, None)], ids=str)
@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@pytest.mark.parametrize("shape", [(0, 16), (3, 0), (0, 0)])
def test_nothing_in_it(shape: tuple[int, int], pattern: Pattern | None, grid: Grid | None) -> None:
    round_trip(solved(torch.zeros(shape, dtype=torch.float16), pattern, grid), pattern)


@pytest.mark.parametrize("grid", [None, *GRIDS], ids=str)
def test_all_zero(grid: Grid | None) -> None:
    for pattern in PATTERNS:
        weight = torch.zeros(4, 136, dtype=torch.bfloat16)
        _, described = round_trip(solved(weight, pattern, grid), pattern)
        assert described.masked == (described.pattern is None)
        nm = described.pattern
        assert described.kept == (0 if nm is None else 4 * 136 // nm.group * nm.keep)


def test_zeros_beyond_the_pattern() -> None:
    """A weight that is kept may be zero; N:M then still stores N of every M."""
    weight = random_weight(6, 64)
    weight[:, 5::3] = 0
    weight[2] = 0
    result = magnitude(weight, NM(2, 4))
    _, described = round_trip(result, NM(2, 4))
    assert described.kept == 6 * 32
    assert result.zeros > 6 * 32


def test_few_zeros_are_not_worth_a_mask() -> None:
    weight = random_weight(8, 128, torch.bfloat16)
    weight[:, ::17] = 0  # 64 zeros of 16 bits: just what the mask of 1024 weights would cost
    assert round_trip(LayerResult(weight, 0.0, 0.0, 64), None)[0].keys() == {"values"}
    weight[3, 1] = 0
    assert round_trip(LayerResult(weight, 0.0, 0.0, 65), None)[0].keys() == {"bitmask", "values"}


def test_strides_do_not_matter() -> None:
    for pattern in PATTERNS:
        result = solved(random_weight(64, 24).T, pattern, None)
        turned = LayerResult(result.weight.T.contiguous().T, 0.0, 0.0, result.zeros)
        a, b = round_trip(result, pattern), round_trip(turned, pattern)
        assert a[1] == b[1]


def test_extreme_values() -> None:
    for dtype in FLOATS:
        largest, smallest = torch.finfo(dtype).max, torch.finfo(dtype).smallest_normal
        weight = torch.tensor([[largest, -largest, smallest, -smallest, smallest / 4, 0, 0, 1]], dtype=dtype)
        for pattern in (None, Unstructured(0.5), NM(2, 4)):
            round_trip(solved(weight, pattern, None), pattern)
        for grid in (Grid(4), Grid(8, None, False)):
            round_trip(solved(weight / 4, None, grid), None)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float8_e4m3fn], ids=str)
def test_other_dtypes_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(ConfigError, match="packed format: expected float32, bfloat16 or float16"):
        packed.encode(LayerResult(torch.zeros(2, 4, dtype=dtype), 0.0, 0.0, 8), None)


SHARES: dict[str, tuple[dict[str, Any], float]] = {
    "half": ({"method": "magnitude", "sparsity": 0.5}, 0.57),
    "2:4": ({"method": "magnitude", "pattern": "2:4"}, 0.57),
    "4 bits": ({"method": "rtn", "bits": 4}, 0.27),
    "half and 4 bits": ({"method": "magnitude", "sparsity": 0.5, "bits": 4}, 0.21),
    "2:4 and 4 bits": ({"method": "magnitude", "pattern": "2:4", "bits": 4}, 0.21),
}


@pytest.mark.parametrize("case", SHARES)
def test_size_on_disk(tmp_path: Path, case: str) -> None:
    """Of the whole file, with its header that remembers the source's."""
    options, share = SHARES[case]
    weight = random_weight(512, 1024, torch.bfloat16)
    model = bare_checkpoint(tmp_path / "model", {"layer.0.weight": weight})
    facts = run(model, tmp_path / "out", format="packed", **options)
    before, after = (path.stat().st_size for path in (model / SINGLE, tmp_path / "out" / PACKED_SINGLE))
    assert after <= share * before
    assert facts["bytes_after"] == open_checkpoint(tmp_path / "out").total_bytes <= after
    assert facts["bits_per_weight"] == pytest.approx(16 * facts["bytes_after"] / facts["bytes_before"])


def test_a_part_of_another_shape_is_refused() -> None:
    result = solved(random_weight(4, 64), Unstructured(0.5), Grid(4, 32))
    parts, described = packed.encode(result, Unstructured(0.5))
    for name, part in parts.items():
        for wrong in (part[:-1], part.view(-1)[None], part.to(torch.float64)):
            changed = {**parts, name: wrong}
            with pytest.raises(PayloadError, match=f"^w: {name}: expected"):
                packed.decode("w", described, changed.__getitem__)
        flipped = bits_of(part).clone()
        flipped[0] ^= 1
        changed = {**parts, name: flipped.view(part.dtype).view(part.shape)}
        with pytest.raises(PayloadError, match=f"^w: {name}: wrong checksum"):
            packed.decode("w", described, changed.__getitem__)


@pytest.mark.parametrize("group", [2, 3, 4, 5, 8, 9, 16, 17, 128])
def test_places_inside_a_group_fit_their_width(group: int) -> None:
    bits = ops.index_bits(group)
    assert 1 << bits >= group
    assert bits == min(width for width in (2, 3, 4, 8) if width >= math.log2(group))
    for keep in {1, group}:
        pattern = NM(keep, group)
        result = magnitude(random_weight(3, 4 * group), pattern)
        round_trip(result, pattern)
