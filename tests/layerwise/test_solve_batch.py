"""A batch of layers of one shape gives what each of them gives by itself."""

import pytest
import torch

from fmcompress import NM, Unstructured
from fmcompress.errors import CalibrationError, ConfigError
from fmcompress.layerwise import Grid, solve, solve_batch
from fmcompress.layerwise.core import Numbers, Recipe, solve_core

CASES = [
    (Unstructured(0.5), None),
    (Unstructured(0.3, "row"), None),
    (Unstructured(0.6, "layer"), None),
    (NM(2, 4), None),
    (NM(3, 5), None),
    (None, Grid(4, 128)),
    (None, Grid(3, 40, False)),
    (None, Grid(4, None)),
    (None, Grid(2, 200)),
    (Unstructured(0.5), Grid(4, 128)),
    (Unstructured(0.5, "row"), Grid(4, None)),
    (NM(2, 4), Grid(4, 64)),
]


@pytest.fixture(scope="module")
def layers(make_weight, make_hessian):
    """Function dtype -> weights [3, 20, 320] and Hessians, some of whose inputs never fire."""

    def make(dtype=torch.float64):
        weights = torch.stack([make_weight(20, 320, dtype, seed) for seed in range(3)])
        dead = [(), (0, 130), tuple(range(0, 320, 3))]
        compute = torch.promote_types(dtype, torch.float32)
        return weights, torch.stack([make_hessian(320, compute, seed, dead[seed]) for seed in range(3)])

    return make


def batch(weights, hessians, pattern, grid, block_size=128, energies=None, damping=0.01, **rest):
    names = [f"expert {index}" for index in range(len(weights))]
    given = {"damping": damping, "block_size": block_size, "output_energies": energies, "names": names}
    return solve_batch(weights, hessians, pattern, grid, **given, **rest)


def alone(weight, hessian, pattern, grid, block_size=128, energy=None, damping=0.01, **rest):
    given = {"damping": damping, "block_size": block_size, "output_energy": energy, "name": "layer"}
    return solve(weight, hessian, pattern, grid, activation_order=False, **given, **rest)


def assert_same(result, weight, hessian, pattern, grid, block_size=128, keep_zeros=False):
    """As the same steps give for the layer by itself, and in loss as solve(), whose factor is made by other steps.

    The largest weight of a group lies between two levels of a symmetric grid: which one it gets is a matter of its
    last bit, so that codes are compared where the steps are the same.
    """
    recipe = Recipe(pattern, grid, 0.01, block_size, keep_zeros=keep_zeros)
    outcome = solve_core(weight, hessian, recipe)
    numbers = Numbers(*outcome.numbers.tolist())
    torch.testing.assert_close(result.weight, outcome.weight, rtol=1e-8, atol=1e-10)
    assert result.loss == pytest.approx(numbers.damped - numbers.added * numbers.squares, rel=1e-7)
    assert (result.zeros, result.dead_columns) == (numbers.zeros, numbers.dead)
    expected = alone(weight, hessian, pattern, grid, block_size, keep_zeros=keep_zeros)
    rel = 1e-7 if grid is None else 2e-2
    assert result.loss == pytest.approx(expected.loss, rel=rel)
    assert result.relative_error == pytest.approx(expected.relative_error, rel=rel)
    assert (result.dead_columns, result.damping) == (expected.dead_columns, expected.damping)
    assert result.weight.dtype == expected.weight.dtype
    assert (result.quantized is None) == (grid is None)
    if grid is not None:
        assert result.quantized.codes.equal(outcome.quantized.codes)
        assert result.quantized.zero.equal(outcome.quantized.zero)
        torch.testing.assert_close(result.quantized.scale, outcome.quantized.scale)
        torch.testing.assert_close(result.weight, result.quantized.dequantized(result.weight.dtype))


@pytest.mark.parametrize(("pattern", "grid"), CASES, ids=str)
def test_as_one_by_one(layers, pattern, grid):
    weights, hessians = layers()
    kept = weights.clone(), hessians.clone()
    found = batch(weights, hessians, pattern, grid)
    for result, weight, hessian in zip(found, weights, hessians, strict=True):
        assert_same(result, weight, hessian, pattern, grid)
    assert weights.equal(kept[0])
    assert hessians.equal(kept[1])


@pytest.mark.parametrize("block_size", [64, 96, 256])
def test_block_sizes(layers, block_size):
    weights, hessians = layers()
    found = batch(weights, hessians, Unstructured(0.5), None, block_size)
    for result, weight, hessian in zip(found, weights, hessians, strict=True):
        assert_same(result, weight, hessian, Unstructured(0.5), None, block_size)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_dtypes(layers, dtype):
    """In float32 near ties may fall the other way: what is compared is the loss."""
    weights, hessians = layers(dtype)
    for pattern, grid in CASES[::3]:
        for result, weight, hessian in zip(batch(weights, hessians, pattern, grid), weights, hessians, strict=True):
            expected = alone(weight, hessian, pattern, grid)
            assert result.weight.dtype == dtype
            assert result.zeros == expected.zeros
            assert result.loss == pytest.approx(expected.loss, rel=1e-2)


def test_zeros_are_kept(layers):
    weights, hessians = layers()
    weights[:, ::2, ::3] = 0.0
    found = batch(weights, hessians, None, Grid(4, 64), keep_zeros=True)
    for result, weight, hessian in zip(found, weights, hessians, strict=True):
        assert not result.weight[weight == 0].any()
        assert_same(result, weight, hessian, None, Grid(4, 64), keep_zeros=True)


def test_known_energies(layers):
    weights, hessians = layers()
    for result, energy in zip(
        batch(weights, hessians, NM(2, 4), None, energies=[1.0, 2.0, 4.0]), [1, 2, 4], strict=True
    ):
        assert result.relative_error == pytest.approx(result.loss / energy)


def test_one_that_needs_more_damping(make_weight):
    indefinite = torch.tensor([[1.0, 1.05], [1.05, 1.0]], dtype=torch.float64)
    hessians = torch.stack([torch.eye(2, dtype=torch.float64), indefinite])
    weights = torch.stack([make_weight(4, 2), make_weight(4, 2)])
    fine, raised = batch(weights, hessians, NM(1, 2), None)
    assert (fine.damping, raised.damping) == (0.01, pytest.approx(0.1))
    assert raised.weight.equal(alone(weights[1], hessians[1], NM(1, 2), None).weight)
    hessians[1] *= torch.tensor([[1.0, 3.0], [3.0, 1.0]])
    with pytest.raises(CalibrationError, match="expert 1: Hessian not positive definite at damping 1"):
        batch(weights, hessians, NM(1, 2), None)


@pytest.mark.parametrize(("which", "message"), [(0, "weight holds inf or NaN"), (1, "Hessian is not finite")])
def test_the_layer_that_is_not_finite_is_named(layers, which, message):
    given = layers()
    given[which][2, 7, 7] = torch.nan
    with pytest.raises(CalibrationError, match=f"expert 2: the {message}"):
        batch(*given, Unstructured(0.5), None)


def test_what_changes_nothing(layers):
    weights, hessians = layers()
    for result, weight in zip(batch(weights, hessians, Unstructured(0.0), None), weights, strict=True):
        assert result.weight.equal(weight)
    assert batch(weights[:0], hessians[:0], Unstructured(0.5), None) == []


def test_what_does_not_fit_is_refused(layers):
    weights, hessians = layers()
    with pytest.raises(ConfigError, match="weights: expected"):
        batch(weights[0], hessians[0], Unstructured(0.5), None)
    with pytest.raises(ConfigError, match="weights: expected"):
        batch(weights, hessians[:2], Unstructured(0.5), None)
    with pytest.raises(ConfigError, match="output_energies: expected one for each of 3 layers, got 2"):
        batch(weights, hessians, Unstructured(0.5), None, energies=[1.0, 2.0])
    with pytest.raises(ConfigError, match="products: expected one of fp32, tf32x3, got 'bf16'"):
        batch(weights, hessians, Unstructured(0.5), None, products="bf16")
