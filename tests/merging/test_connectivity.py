"""Barriers on lines between models: definition, ends, symmetry, and what is refused."""

import math

import pytest
import torch

from fmcompress.errors import ConfigError
from fmcompress.merging.connectivity import POINTS, along_line, barrier, barriers, between


def model(*values, dtype=torch.float32):
    return {"w": torch.tensor(values, dtype=dtype)}


def valleys(weights):
    """A loss with minima at 0 and 2, and a wall of 1 between them."""
    x = weights["w"][0].item()
    return (x * (x - 2)) ** 2


def test_barrier_is_what_rises_above_the_straight_line():
    assert barrier([1.0, 5.0, 3.0], [0.0, 0.5, 1.0]) == 3.0
    assert barrier([1.0, 5.0, 3.0], [0.0, 0.25, 1.0]) == 3.5
    assert barrier([1.0, 1.5, 3.0], [0.0, 0.5, 1.0]) == 0.0  # below the line, not above it
    assert barrier([3.0, 5.0, 1.0], [1.0, 0.5, 0.0]) == 3.0  # in any order


def test_a_wall_between_two_minima_is_seen():
    a, b = model(0.0), model(2.0)
    losses = along_line(valleys, a, b)
    assert losses[0] == losses[-1] == 0
    assert barrier(losses) == pytest.approx(1.0)
    assert barrier(along_line(valleys, a, a)) == 0
    assert barrier(along_line(lambda weights: weights["w"].sum().item(), a, b)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_line_begins_and_ends_at_the_models(dtype):
    generator = torch.Generator().manual_seed(0)
    a, b = ({"w": torch.randn(257, generator=generator).to(dtype), "n": torch.tensor(3)} for _ in range(2))
    assert torch.equal(between(a, b, 0.0)["w"], a["w"])
    assert torch.equal(between(a, b, 1.0)["w"], b["w"])
    assert torch.equal(between(a, a, 0.5)["w"], a["w"])
    quarter = between(a, dict(reversed(b.items())), 0.25)  # names count, not their order
    assert torch.equal(quarter["w"], (0.75 * a["w"].double() + 0.25 * b["w"].double()).to(dtype))
    assert quarter["n"] == 3


def test_the_matrix_is_symmetric_and_evaluates_each_end_once():
    models, asked = [model(0.0), model(2.0), model(1.0)], []

    def evaluate(weights):
        asked.append(weights["w"][0].item())
        return valleys(weights)

    found = barriers(evaluate, models, (0.0, 0.5, 1.0))
    assert found == [[0, 1, pytest.approx(0.0625)], [1, 0, pytest.approx(0.0625)], [pytest.approx(0.0625)] * 2 + [0]]
    assert len(asked) == 3 + 3


@pytest.mark.parametrize(
    ("b", "message"),
    [
        ({"v": torch.ones(1)}, "model 1: has a strange tensor 'v'"),
        (model(1.0, 2.0), "w: expected torch.float32"),
        (model(1.0, dtype=torch.float16), "w: expected torch.float32"),
    ],
)
def test_models_that_differ_are_refused(b, message):
    with pytest.raises(ConfigError, match=message):
        between(model(1.0), b, 0.5)


def test_integers_that_differ_have_nothing_between_them():
    with pytest.raises(ConfigError, match=r"n: expected equal torch.int64"):
        between({"n": torch.tensor(1)}, {"n": torch.tensor(2)}, 0.5)


def test_statistics_of_batchnorm_are_interpolated_and_counts_are_the_first_models():
    a, b = ({"bn.running_var": torch.tensor([x]), "bn.num_batches_tracked": torch.tensor(int(x))} for x in (1.0, 3.0))
    assert between(a, b, 0.75) == {"bn.running_var": torch.tensor([2.5]), "bn.num_batches_tracked": torch.tensor(1)}


@pytest.mark.parametrize("points", [(0.0, 0.5), (0.5, 1.0), POINTS])
def test_points_without_ends_are_refused(points):
    with pytest.raises(ConfigError, match="points: expected one a loss, 0 and 1 among them"):
        barrier([1.0, 2.0], points)


@pytest.mark.parametrize("losses", [(1.0, math.nan, 1.0), (math.nan, 1.0, 1.0), (1.0, 2.0, math.inf)])
def test_losses_that_hide_a_barrier_are_refused(losses):
    with pytest.raises(ConfigError, match="losses: expected numbers, finite at both ends"):
        barrier(losses, (0.0, 0.5, 1.0))
    assert barrier((1.0, math.inf, 1.0), (0.0, 0.5, 1.0)) == math.inf


def test_a_loss_that_is_no_number_is_told():
    with pytest.raises(ConfigError, match="evaluate: expected a number, got NaN"):
        along_line(lambda weights: float("nan"), model(0.0), model(2.0))
