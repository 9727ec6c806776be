"""DARE: what is dropped depends on seed, tensor, model and index alone; on average it is task arithmetic."""

import math

import numpy as np
import pytest
import torch
from change_cases import WHOLE, expected_ties, merged, random_rows

from fmcompress.merging.dare import dare_linear, dare_ties, draws, random_keep
from fmcompress.merging.linear import task_arithmetic

DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)


def kept(count: int, density: float, *, seed: int = 0, name: str = "w", place: int = 0, models: int = 1) -> np.ndarray:
    """Which entries of a model's change stay."""
    keep = random_keep(seed, name, (density,) * models)
    mask = keep(place, 0, torch.empty(count), torch.empty(count))
    assert mask is not None
    return mask.numpy()


@pytest.mark.parametrize("method", [dare_linear, dare_ties])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("length", [1, 7, 64])
def test_bits_do_not_depend_on_blocks(method, dtype, length) -> None:
    rows, options = random_rows(0, 2, 200, dtype), {"weights": (0.7, 1.1), "densities": (0.3, 0.6), "seed": 5}
    whole, cut = (merged(method, rows, length=at_once, **options) for at_once in (WHOLE, length))
    assert torch.equal(whole.view(torch.uint8), cut.view(torch.uint8))


def test_draws_can_be_cut_anywhere() -> None:
    whole = draws(77, 0, 1000)
    assert len(set(whole.tolist())) > 990
    for begin, count in ((0, 1), (3, 1), (5, 17), (8, 8), (991, 9), (999, 1)):
        assert np.array_equal(draws(77, begin, count), whole[begin : begin + count])


def test_what_is_drawn_stays_the_same_from_version_to_version() -> None:
    key = int.from_bytes(bytes(range(16)), "little")
    assert draws(key, 0, 4).tolist() == [1147315477, 3333481335, 3848546890, 4128345075]
    assert kept(64, 0.5, seed=1, name="model.weight", place=1, models=2).sum() == 39


@pytest.mark.parametrize("density", [0.01, 0.1, 0.5, 0.9])
def test_the_share_that_is_kept_is_the_density(density) -> None:
    count = 1_000_000
    found = int(kept(count, density, seed=3).sum())
    assert abs(found - density * count) < 4 * math.sqrt(count * density * (1 - density))


def test_drops_differ_by_seed_tensor_and_model_and_are_independent() -> None:
    count, density = 200_000, 0.3
    masks = [
        kept(count, density),
        kept(count, density, seed=1),
        kept(count, density, name="v"),
        kept(count, density, place=1, models=2),
    ]
    spread = 4 * math.sqrt(count * density**2 * (1 - density**2))
    for one, first in enumerate(masks):
        neighbours = int((first[1:] & first[:-1]).sum())
        assert abs(neighbours - count * density**2) < 2 * spread  # pairs overlap
        for other in masks[one + 1 :]:
            assert abs(int((first & other).sum()) - count * density**2) < spread


def test_what_is_kept_is_divided_by_the_density() -> None:
    rows = torch.stack([torch.ones(1000, dtype=torch.float64), torch.full((1000,), 3.0, dtype=torch.float64)])
    got = merged(dare_linear, rows, densities=(0.25,), weights=(0.5,), normalize=False)
    assert got[kept(1000, 0.25)].eq(1 + 0.5 * 2 / 0.25).all()
    assert got[~kept(1000, 0.25)].eq(1).all()


def test_on_average_it_is_task_arithmetic() -> None:
    seeds, densities, weights = 400, (0.3, 0.6), (0.7, -0.4)
    rows = random_rows(1, 2, 500, torch.float64, spread=1.0)
    options = {"weights": weights, "scale": 1.3, "normalize": False}
    mean = sum(merged(dare_linear, rows, densities=densities, seed=seed, **options) for seed in range(seeds)) / seeds
    changes = torch.tensor(weights)[:, None] * 1.3 * (rows[1:] - rows[0])
    spread = torch.tensor([(1 - density) / density for density in densities]).double()
    deviation = (changes.square() * spread[:, None]).sum(0).div(seeds).sqrt()  # of the mean of so many seeds
    off = (mean - merged(task_arithmetic, rows, **options)) / deviation.clamp(min=1e-12)
    assert off.abs().max() < 5  # standard deviations
    assert abs(float(off[deviation > 0].square().mean()) - 1) < 0.3  # and as far off as chance has it


@pytest.mark.parametrize("dtype", DTYPES)
def test_density_1_is_task_arithmetic(dtype) -> None:
    rows = random_rows(2, 3, 300, dtype)
    for normalize in (True, False):
        options = {"weights": (0.7, 0.2, 0.4), "normalize": normalize, "scale": 0.9}
        got, wanted = (merged(method, rows, **options).double() for method in (dare_linear, task_arithmetic))
        assert (got - wanted).abs().max() <= wanted.abs().max() * torch.finfo(dtype).eps


@pytest.mark.parametrize("method", [dare_linear, dare_ties])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_base_comes_back_to_the_bit(method, dtype) -> None:
    rows = random_rows(3, 2, 300, dtype)
    rows[0, :20] = -0.0
    for found in (
        merged(method, rows[:1].expand(3, -1), densities=(0.4, 0.8), weights=(0.3, 0.9)),
        merged(method, rows, densities=(0.4, 0.8), scale=0.0),
    ):
        assert torch.equal(found.view(torch.uint8), rows[0].view(torch.uint8))


@pytest.mark.parametrize("normalize", [True, False])
def test_dare_ties_elects_signs_among_what_is_left(normalize) -> None:
    rows, weights, densities = random_rows(4, 3, 400, torch.float64), (0.5, 1.0, 2.0), (0.5, 0.25, 1.0)
    left = (rows[1:] - rows[0]).numpy().copy()
    for place, density in enumerate(densities[:2]):
        left[place] *= kept(400, density, seed=9, place=place, models=3) / density
    got = merged(dare_ties, rows, weights=weights, densities=densities, normalize=normalize, seed=9)
    assert torch.equal(got, expected_ties(left, rows[0], weights, normalize=normalize))


@pytest.mark.parametrize("method", [dare_linear, dare_ties])
def test_an_empty_tensor_stays_empty(method) -> None:
    assert merged(method, torch.zeros(3, 0), densities=(0.5, 0.5)).tolist() == []
