"""TIES: exact trimming, the elected sign, the disjoint mean; bits that do not depend on blocks."""

import itertools

import numpy as np
import pytest
import torch
from change_cases import WHOLE, blocks_of, expected_ties, merged, random_rows, trimmed

from fmcompress.merging.largest import largest, magnitudes
from fmcompress.merging.ties import ties

DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)


def same(got: torch.Tensor, wanted: torch.Tensor) -> bool:
    return torch.equal(got.view(torch.uint8), wanted.view(torch.uint8))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("densities", [(0.2, 0.5, 0.33), (1.0, 0.05, 1.0), (0.0001, 0.999, 0.5)])
@pytest.mark.parametrize(("normalize", "scale"), [(True, 1.0), (False, 0.3)])
def test_ties_is_what_the_loop_over_entries_gives(dtype, densities, normalize, scale) -> None:
    rows, weights = random_rows(0, 3, 500, dtype), (0.7, 0.3, 1.9)
    got = merged(ties, rows, weights=weights, densities=densities, normalize=normalize, scale=scale)
    assert same(got, expected_ties(trimmed(rows, densities), rows[0], weights, normalize=normalize, scale=scale))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("length", [1, 7, 64])
def test_bits_do_not_depend_on_blocks(dtype, length) -> None:
    rows = random_rows(1, 2, 150, dtype)
    options = {"weights": (0.7, 1.1), "densities": (0.3, 0.6)}
    assert same(merged(ties, rows, length=length, **options), merged(ties, rows, length=WHOLE, **options))


def test_bits_do_not_depend_on_the_pieces_of_a_block() -> None:
    rows = random_rows(2, 2, 70_000, torch.bfloat16)
    whole, cut = (merged(ties, rows, length=length, densities=(0.3, 0.4)) for length in (WHOLE, 4096))
    assert same(whole, cut)


@pytest.mark.parametrize("length", [1, 7, 64, WHOLE])
@pytest.mark.parametrize("dtype", DTYPES)
def test_of_equal_changes_the_lowest_indices_are_kept(dtype, length) -> None:
    change = torch.tensor([1, -2, 2, 1, 2, -1, 2, 0, 3, 2], dtype=dtype).repeat(7)  # 7 of 3, 35 of 2, 21 of 1, 7 of 0
    rows = torch.stack([torch.zeros_like(change), change])
    for kept, of_two in ((7, 0), (8, 1), (20, 13), (42, 35)):
        [found] = largest(blocks_of(rows, length), {0: kept}).values()
        twos = (change.abs() == 2).nonzero()[:, 0][:of_two]
        wanted = sorted([*(change == 3).nonzero()[:, 0].tolist(), *twos.tolist()])
        mask = torch.cat([found.mask(begin, magnitudes(*block)) for begin, block in blocks_of(rows, length)()])
        assert mask.nonzero()[:, 0].tolist() == wanted


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exactly_so_many_are_kept_whatever_the_magnitudes(dtype) -> None:
    generator, info = torch.Generator().manual_seed(3), torch.finfo(dtype)
    exponents = torch.randint(-100, 100, (2000,), generator=generator)
    columns = {
        "all magnitudes": torch.randn(2000, generator=generator, dtype=dtype) * 2.0**exponents,
        "zeros": torch.zeros(2000, dtype=dtype),
        "one value": torch.full((2000,), -1.5, dtype=dtype),
        "subnormal": torch.arange(2000) * (info.tiny * info.eps),
        "neighbours": 1 + torch.arange(2000) % 300 * info.eps,
        "the largest": torch.tensor([info.max, -info.max / 2], dtype=dtype).repeat(1000),
    }
    for (name, column), kept in itertools.product(columns.items(), (1, 2, 999, 1999, 2000)):
        rows = torch.stack([torch.zeros(2000, dtype=dtype), column.to(dtype)])
        found = largest(blocks_of(rows, 700), {0: kept})[0]
        mask = found.mask(0, magnitudes(*rows))
        order = np.argsort(-magnitudes(*rows).numpy(), kind="stable")[:kept]
        assert mask.nonzero()[:, 0].tolist() == sorted(order.tolist()), (name, kept)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_base_comes_back_to_the_bit(dtype) -> None:
    rows = random_rows(4, 2, 300, dtype)
    rows[0, :20] = -0.0
    base = rows[:1].expand(3, -1)
    assert same(merged(ties, base, densities=(0.4, 1.0), weights=(0.3, 0.9)), rows[0])
    assert same(merged(ties, rows, scale=0.0), rows[0])
    assert same(merged(ties, rows, weights=(0.0, 0.0)), rows[0])


@pytest.mark.parametrize("dtype", DTYPES[:3])
def test_one_model_and_density_1_is_that_model(dtype) -> None:
    rows = random_rows(5, 1, 300, dtype)
    assert same(merged(ties, rows, weights=(0.3,)), rows[1])


def test_with_equal_signs_and_density_1_it_is_the_mean() -> None:
    generator = torch.Generator().manual_seed(6)
    base = torch.randn(400, generator=generator)
    signs = torch.where(torch.rand(400, generator=generator) < 0.5, 1.0, -1.0)
    rows = torch.stack([base, *(base + signs * (0.1 + torch.rand(400, generator=generator)) for _ in range(4))])
    assert same(merged(ties, rows), rows[1:].double().mean(0).float())


def test_the_larger_sum_of_magnitudes_elects_the_sign() -> None:
    changes = torch.tensor([[3.0, 3, 1, -1], [-2, -2, -1, 1], [-2, -0.5, 0, 0]])
    rows = torch.cat([torch.zeros(1, 4), changes])
    assert merged(ties, rows).tolist() == [-2.0, 3.0, 1.0, 1.0]  # 3 < 2 + 2; one against two; + where equal
    assert merged(ties, rows, normalize=False).tolist() == [-4.0, 3.0, 1.0, 1.0]
    assert merged(ties, rows, weights=(2.0, 1.0, 1.0)).tolist() == [3.0, 3.0, 1.0, -1.0]
    assert merged(ties, rows, weights=(1.0, 1.0, 0.0)).tolist() == [3.0, 3.0, 1.0, 1.0]


def test_negative_weights_turn_changes_round() -> None:
    rows = random_rows(7, 3, 200, torch.float64)
    weights, densities = (1.0, -1.0, 0.5), (0.5, 0.7, 1.0)
    for normalize in (True, False):
        wanted = expected_ties(trimmed(rows, densities), rows[0], weights, normalize=normalize)
        assert same(merged(ties, rows, weights=weights, densities=densities, normalize=normalize), wanted)


def test_a_tiny_tensor_keeps_its_largest_entry_and_an_empty_one_stays_empty() -> None:
    rows = torch.tensor([[0.0, 0.0, 0.0], [1.0, -3.0, 2.0]])
    assert merged(ties, rows, densities=(0.1,)).tolist() == [0.0, -3.0, 0.0]
    assert merged(ties, rows, densities=(0.6,)).tolist() == [0.0, -3.0, 0.0]  # 1.8 entries are 1
    assert merged(ties, rows[:, :0], densities=(0.1,)).tolist() == []


def test_float32_sums_are_as_asked() -> None:
    rows, weights = random_rows(8, 3, 300, torch.bfloat16), (0.1, 0.7, 0.3)
    narrow, broad = (merged(ties, rows, weights=weights, sum_dtype=dtype) for dtype in (torch.float32, torch.float64))
    assert (narrow.float() - broad.float()).abs().max() <= broad.float().abs().max() * 2**-8
