"""The part of the solve that waits for no GPU: proven with fake CUDA tensors, and against the solve of a CPU."""

import pytest
import torch
from fake_gpu import fake_gpu
from torch._subclasses.fake_tensor import DataDependentOutputException
from torch.utils._python_dispatch import TorchDispatchMode

from fmcompress import NM, Unstructured, _backends
from fmcompress.layerwise import Grid, core, solve
from fmcompress.layerwise.core import Numbers, Recipe, solve_core
from fmcompress.layerwise.scales import Scales
from fmcompress.layerwise.sweeper import Sweeper

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


@pytest.mark.parametrize(
    ("recipe", "batch"), [(each, ()) for each in RECIPES] + [(each, (3,)) for each in BATCHED], ids=str
)
def test_nothing_waits_for_a_gpu(recipe, batch, monkeypatch):
    """A fake tensor has no numbers: whatever looks at one raises."""
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
@pytest.mark.parametrize("cols", [640, 360])
def test_as_the_solve_of_a_cpu(make_weight, make_hessian, recipe, cols):
    """Which factors by other steps: the same to rounding."""
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
    assert numbers.dead == expected.dead_columns
    loss = numbers.damped - numbers.added * numbers.squares
    if recipe.grid is None:
        torch.testing.assert_close(outcome.weight, expected.weight, rtol=1e-8, atol=1e-10)
        assert loss == pytest.approx(expected.loss, rel=1e-7)
        assert numbers.zeros == expected.zeros
    else:  # the largest weight of a group lies between two levels: the last bit says which it gets, and others follow
        same = (outcome.quantized.codes == expected.quantized.codes).all(1)
        assert same.double().mean() > 0.6
        torch.testing.assert_close(outcome.weight[same], expected.weight[same], rtol=1e-8, atol=1e-10)
        assert loss == pytest.approx(expected.loss, rel=2e-2)
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


class Launches(TorchDispatchMode):
    """Counts the ops that move data, and twice those that copy their sum first."""

    FREE = ("empty", "view", "slice", "select", "diagonal", "unsqueeze", "expand", "detach", "transpose", "alias", "t")

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.split("::")[1]
        if not func.is_view and not any(part in self.FREE for part in name.split("_")):
            self.count += 2 if name in ("addmm", "baddbmm") else 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("pattern", "grid", "most"),
    [
        (Unstructured(0.5), None, 9.25),
        (NM(2, 4), None, 7.25),
        (None, Grid(4, 128), 13.25),
        (Unstructured(0.5), Grid(4, 128), 16.25),
    ],
    ids=str,
)
def test_launches_of_a_block(pattern, grid, most):
    """Each costs a GPU some microseconds: of 128 columns, the factor left out."""
    counts = []
    for cols in (1024, 2048):
        weight = torch.ones(4, cols, dtype=torch.bfloat16)
        scales = None if grid is None else Scales(weight, grid, torch.float32)
        sweeper = Sweeper(
            weight, torch.eye(cols), pattern, scales, 128, inverses=torch.eye(128).repeat(cols // 128, 1, 1)
        )
        with Launches() as launches:
            sweeper.run()
        counts.append(launches.count)
    assert 5 < (counts[1] - counts[0]) / 8 <= most
