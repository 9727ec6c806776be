"""Diversity on errors made by hand, averaging against ensembling on functions that are known, and the pictures."""

import math

import pytest
import torch

from fmcompress.errors import ConfigError
from fmcompress.ratatouille import compare, diversity, first_order, plot_barriers, plot_diversity, plot_lines


def errs(*rows):
    return torch.tensor([[letter == "x" for letter in row] for row in rows])


def test_ratio_error_by_hand():
    found = diversity(errs("xxx.....", "x..x...."))  # both 1, only one 2 + 1, neither 4
    assert found.ratio_error == 3
    assert found.q_statistic == pytest.approx((1 * 4 - 2 * 1) / (1 * 4 + 2 * 1))
    assert found.disagreement == 3 / 8


def test_equal_models_are_not_diverse_and_opposite_ones_are():
    same = diversity(errs("xx..", "xx.."))
    assert (same.ratio_error, same.q_statistic, same.disagreement) == (0, 1, 0)
    apart = diversity(errs("xx..", "..xx"))
    assert (apart.ratio_error, apart.q_statistic, apart.disagreement) == (math.inf, -1, 1)
    never = diversity(errs("....", "...."))
    assert math.isnan(never.ratio_error)
    assert math.isnan(never.q_statistic)
    independent = diversity(errs("xx..", "x.x."))
    assert (independent.ratio_error, independent.q_statistic) == (2, 0)


def test_counts_of_several_models_are_added_up_over_pairs():
    # a, b: both 1, single 1; a, c: both 1, single 2; b, c: both 1, single 1
    found = diversity(errs("xx...", "x....", "x.x.."))
    assert found.ratio_error == pytest.approx((1 + 2 + 1) / 3)
    assert found.disagreement == pytest.approx(4 / 15)


@pytest.mark.parametrize(
    "bad", [torch.zeros(2, 3), torch.zeros(1, 3, dtype=torch.bool), torch.zeros(2, 0, dtype=torch.bool)]
)
def test_errors_of_another_form_are_refused(bad):
    with pytest.raises(ConfigError, match="errs: expected bool"):
        diversity(bad)


def test_averaging_against_ensembling_by_hand():
    labels = torch.tensor([0, 1, 0])
    a = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.8, 0.2]])  # right, wrong, right
    b = torch.tensor([[0.2, 0.8], [0.3, 0.7], [0.4, 0.6]])  # wrong, right, wrong
    averaged = torch.tensor([[0.9, 0.1], [0.1, 0.9], [0.9, 0.1]])
    found = compare(averaged, torch.stack([a, b]), labels)
    assert (found.average, found.ensemble, found.mean, found.best) == pytest.approx((1, 1, 0.5, 2 / 3))
    assert found.gain == pytest.approx(0.5)
    assert found.gap == pytest.approx((0.35 + 0.35 + 0.3) / 3)
    with pytest.raises(ConfigError, match=r"outputs: expected \[models, rows, classes\]"):
        compare(averaged, a, labels)


def test_the_gap_to_the_ensemble_is_of_second_order():
    models = [{"w": torch.tensor([x], dtype=torch.float64), "n": torch.tensor(3)} for x in (1.0, 2.0, 4.0)]
    square = first_order(lambda weights: torch.stack([weights["w"] ** 2, weights["w"]], 1), models)
    assert square.order == pytest.approx(2)
    mean = 7 / 3
    spread = (1 + 4 + 16) / 3 - mean**2  # the mean of squares less the square of the mean
    assert square.gaps == pytest.approx([spread, spread / 4, spread / 16])
    assert square.distances == pytest.approx([math.sqrt(spread), math.sqrt(spread) / 2, math.sqrt(spread) / 4])
    bent = first_order(lambda weights: (weights["w"] - mean).abs()[:, None], models)  # no derivative at the average
    assert bent.order == pytest.approx(1)
    line = first_order(lambda weights: 2 * weights["w"][:, None], [models[0], models[2]])
    assert line.gaps == (0, 0, 0)
    assert math.isnan(line.order)


def test_pictures_are_drawn_the_same_each_time(tmp_path):
    matplotlib = pytest.importorskip("matplotlib")
    assert matplotlib
    for draw in (
        lambda path: plot_lines({"a $x$": [0.1, 0.3, 0.2], "b": [0.2, 0.2, 0.2]}, [0, 0.5, 1], path),
        lambda path: plot_barriers([[0, 0.1], [0.1, 0]], ["plain", "pari$ty"], path),
        lambda path: plot_barriers([[0.0]], ["alone"], path),
        lambda path: plot_diversity({"pairs": [(0.1, 0.2), (0.4, -0.3)], "none": []}, path),
    ):
        draw(tmp_path / "one.png")
        draw(tmp_path / "two.png")
        assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")
        assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_pictures_of_nothing_are_refused(tmp_path):
    path = tmp_path / "one.png"
    for draw, message in (
        (lambda: plot_lines({}, [0, 1], path), "lines: expected"),
        (lambda: plot_lines({"a": [1.0]}, [0, 1], path), "lines: expected one or more of 2"),
        (lambda: plot_barriers([[0.0, 1.0]], ["a"], path), "matrix: expected 1 rows of 1"),
        (lambda: plot_diversity({"a": []}, path), "points: none"),
        (lambda: plot_lines({"a": [1.0, 2.0]}, [0, 1], tmp_path / "one.txt"), "ends in .png"),
    ):
        with pytest.raises(ConfigError, match=message):
            draw()
    assert not list(tmp_path.iterdir())
