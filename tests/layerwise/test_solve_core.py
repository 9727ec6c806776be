"""The part of the solve that waits for no GPU: proven with fake CUDA tensors, and against the solve of a CPU."""

import pytest
import torch
from fake_gpu import fake_gpu
from torch._subclasses.fake_tensor import DataDependentOutputException

from fmcompress import NM, Unstructured, _backends
from fmcompress.layerwise import Grid, core, solve
from fmcompress.layerwise.core import Numbers, Recipe, solve_core

RECIPES = [
    Recipe(Unstructured(0.5), None, 0.01, energy=True),
    Recipe(Unstructured(0.5, "row"), None, 0.01),
    Recipe(Unstructured(0.5, "layer"), None, 0.01),
    Recipe(Unstructured(0.5), None, 0.01, block_size=256),
    Recipe(Unstructured(0.5), None, 0.01, block_size=96),
    Recipe(Unstructured(0.5), None, 0.01, activation_order=True),
    Recipe(NM(2, 4), None, 0.01),
    Recipe(NM(4, 8), None, 0.01),
    Recipe(NM(3, 5), None, 0.01),
    Recipe(None, Grid(4, 128), 0.01),
    Recipe(None, Grid(4, 32), 0.01),
    Recipe(None, Grid(4, None), 0.01),
    Recipe(None, Grid(3, 200, False), 0.01, activation_order=True),
    Recipe(None, Grid(4, 128, False, 40), 0.01, keep_zeros=True),
    Recipe(Unstructured(0.5), Grid(4, 128), 0.01),
    Recipe(NM(2, 4), Grid(4, 128), 0.01),
    Recipe(NM(2, 4), Grid(4, None, False), 0.01),
    Recipe(Unstructured(0.5), None, 0.01, products="tf32x3"),
]
BATCHED = [recipe for recipe in RECIPES if not recipe.activation_order]


def fake_solve(recipe, monkeypatch, *batch, dtype=torch.bfloat16):
    monkeypatch.setattr(_backends, "prepare", lambda device: None)  # no kernel runs
    with fake_gpu():
        weight = torch.empty(*batch, 48, 640, dtype=dtype, device="cuda")
        hessian = torch.empty(*batch, 640, 640, device="cuda")
        return solve_core(weight, hessian, recipe)


@pytest.mark.parametrize("batch", [(), (3,)], ids=["one", "batch"])
@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_nothing_waits_for_a_gpu(recipe, batch, monkeypatch):
    """A fake tensor has no numbers: whatever looks at one raises."""
    if batch and recipe not in BATCHED:
        pytest.skip("batches have no activation order")
    outcome = fake_solve(recipe, monkeypatch, *batch)
    assert outcome.weight.shape == (*batch, 48, 640)
    assert outcome.weight.dtype == torch.bfloat16
    assert outcome.numbers.shape == (*batch, len(Numbers._fields))
    made = [outcome.weight, outcome.numbers]
    if recipe.grid is not None:
        assert outcome.quantized.codes.shape == outcome.weight.shape
        assert outcome.quantized.scale.shape == (*batch, 48, recipe.grid.groups(640))
        made += [outcome.quantized.codes, outcome.quantized.scale, outcome.quantized.zero]
    assert {tensor.device.type for tensor in made} == {"cuda"}


def test_waiting_would_be_seen(monkeypatch):
    looked = core.sweep_layer
    monkeypatch.setattr(core, "sweep_layer", lambda *given: float(given[2].added) and looked(*given))
    with pytest.raises(DataDependentOutputException):
        fake_solve(RECIPES[0], monkeypatch)


@pytest.mark.parametrize("recipe", [recipe for recipe in RECIPES if recipe.products == "fp32"], ids=str)
@pytest.mark.parametrize("cols", [640, 340])
def test_as_the_solve_of_a_cpu(make_weight, make_hessian, recipe, cols):
    """Which factors by other steps: the same to rounding."""
    if isinstance(recipe.pattern, NM) and cols % recipe.pattern.group:
        pytest.skip("the groups do not fit")
    weight, hessian = make_weight(24, cols), make_hessian(cols, dead=(3, 200))
    weight[::3, ::5] = 0.0
    outcome = solve_core(weight, hessian, recipe)
    numbers = Numbers(*outcome.numbers.tolist())
    expected = solve(
        weight,
        hessian,
        recipe.pattern,
        recipe.grid,
        damping=recipe.damping,
        block_size=recipe.block_size,
        activation_order=recipe.activation_order,
        output_energy=None,
        name="layer",
        keep_zeros=recipe.keep_zeros,
    )
    assert not numbers.failed
    torch.testing.assert_close(outcome.weight, expected.weight, rtol=1e-8, atol=1e-10)
    assert numbers.damped - numbers.added * numbers.squares == pytest.approx(expected.loss, rel=1e-7)
    assert (numbers.zeros, numbers.dead) == (expected.zeros, expected.dead_columns)
    if recipe.grid is not None:
        assert outcome.quantized.codes.equal(expected.quantized.codes)
        torch.testing.assert_close(outcome.quantized.scale, expected.quantized.scale)
    if recipe.energy:
        assert numbers.energy == pytest.approx(expected.loss / expected.relative_error, rel=1e-9)


@pytest.mark.parametrize("where", ["weight", "hessian"])
def test_what_is_not_finite_shows_in_the_numbers(make_weight, make_hessian, where):
    given = {"weight": make_weight(8, 256), "hessian": make_hessian(256)}
    assert torch.isfinite(solve_core(given["weight"], given["hessian"], RECIPES[0]).numbers).all()
    given[where][5, 5] = torch.nan
    numbers = Numbers(*solve_core(given["weight"], given["hessian"], RECIPES[0]).numbers.tolist())
    assert numbers.given != numbers.given
    assert bool(numbers.failed) == (where == "hessian")


def test_a_hessian_that_needs_more_damping_shows_in_the_numbers(make_weight):
    hessian = torch.tensor([[1.0, 3.0], [3.0, 1.0]], dtype=torch.float64)
    numbers = Numbers(*solve_core(make_weight(4, 2), hessian, RECIPES[0]).numbers.tolist())
    assert numbers.failed
