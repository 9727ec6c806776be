"""Swap moves: each lowers the error as the formula says, patterns stay, and a refit of a good mask leaves few."""

import itertools

import pytest
import torch

from fmcompress import NM, Unstructured, refit, sparsegpt, swap, wanda
from fmcompress.errors import CalibrationError, ConfigError

PATTERNS = [Unstructured(0.5), Unstructured(0.7, "row"), NM(2, 4), NM(4, 8), NM(1, 4)]


def row_errors(weight, solved, hessian):
    delta = (solved - weight).double()
    return ((delta @ hessian.double()) * delta).sum(1)


@pytest.mark.parametrize("pattern", PATTERNS, ids=repr)
def test_the_pattern_stays_and_the_error_falls(make_weight, make_hessian, pattern):
    weight, hessian = make_weight(24, 96), make_hessian(96)
    before = refit(weight, wanda(weight, hessian, pattern).weight, hessian)
    after = swap(weight, before.weight, hessian, pattern)
    assert after.zeros == before.zeros
    assert torch.equal((after.weight != 0).sum(1), (before.weight != 0).sum(1))
    if isinstance(pattern, NM):
        assert ((after.weight != 0).view(24, -1, pattern.group).sum(2) == pattern.keep).all()
    assert (row_errors(weight, after.weight, hessian) <= row_errors(weight, before.weight, hessian) * (1 + 1e-9)).all()
    assert after.loss < 0.99 * before.loss
    assert after.loss == pytest.approx(float(row_errors(weight, after.weight, hessian).sum()))


@pytest.mark.parametrize("pattern", [Unstructured(0.5), NM(2, 4)], ids=repr)
def test_one_step_is_the_best_pair_of_the_weight_that_gains_most(make_weight, make_hessian, pattern):
    """Every pair tried with plain float64 sums: for each group's best candidate alone, the best to leave for it."""
    weight, hessian = make_weight(3, 8), make_hessian(8)
    before = sparsegpt(weight, hessian, pattern).weight
    after = swap(weight, before, hessian, pattern, steps=1).weight
    group = pattern.group if isinstance(pattern, NM) else 8
    for row in range(3):
        w, start = weight[row], before[row]
        error = lambda x, w=w: float((x - w) @ hessian @ (x - w))  # noqa: E731
        slope = (start - w) @ hessian
        best, found = error(start), start
        for first in range(0, 8, group):
            pruned = [j for j in range(first, first + group) if start[j] == 0]
            p = max(pruned, key=lambda j: float(slope[j] ** 2 / hessian[j, j]))
            for q in (j for j in range(first, first + group) if start[j] != 0):
                tried = start.clone()
                tried[q] = 0.0
                tried[p] = -(((tried - w) @ hessian)[p]) / hessian[p, p]
                if error(tried) < best - 1e-9:
                    best, found = error(tried), tried
        torch.testing.assert_close(after[row], found)


def test_it_finds_its_way_out_of_a_bad_mask(make_hessian):
    """All supports of 4 of 8 columns tried: after swaps and refits the mask that kept the wrong half is among the best three of 70."""
    hessian = make_hessian(8)
    weight = torch.randn(1, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    worst = weight.abs().argsort()[0, :4]
    bad = torch.zeros_like(weight).index_copy(1, worst, weight[:, worst])
    solved = refit(weight, bad, hessian, damping=0.0).weight
    for _ in range(3):
        solved = refit(weight, swap(weight, solved, hessian, None).weight, hessian, damping=0.0).weight
    losses = []
    for kept in itertools.combinations(range(8), 4):
        mask = torch.zeros_like(weight)
        mask[0, list(kept)] = weight[0, list(kept)]
        losses.append(refit(weight, mask, hessian, damping=0.0).loss)
    loss = float(row_errors(weight, solved, hessian))
    assert loss <= sorted(losses)[2] * (1 + 1e-6)
    assert loss < 0.2 * refit(weight, bad, hessian, damping=0.0).loss


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dtypes_dead_columns_nothing_and_everything(make_weight, make_hessian, dtype):
    weight, hessian = make_weight(6, 24, dtype), make_hessian(24, torch.float32, dead=(1, 5))
    pruned = wanda(weight, hessian, Unstructured(0.5)).weight
    solved = swap(weight, pruned, hessian, Unstructured(0.5))
    assert solved.weight.dtype == dtype
    assert not solved.weight[:, [1, 5]].any()
    assert solved.dead_columns == 2
    assert torch.equal(swap(weight, weight, hessian, None).weight, weight)
    assert not swap(weight, torch.zeros_like(weight), hessian, None).weight.any()
    assert torch.equal(swap(weight, pruned, hessian, None, steps=0).weight, pruned)


def test_bad_input_is_refused(make_weight, make_hessian):
    weight, hessian = make_weight(4, 16), make_hessian(16)
    with pytest.raises(ConfigError, match="pruned: expected"):
        swap(weight, weight[:2], hessian, None)
    with pytest.raises(ConfigError, match="at least 0 steps"):
        swap(weight, weight, hessian, None, steps=-1)
    with pytest.raises(CalibrationError, match="inf or NaN"):
        swap(weight, weight * torch.inf, hessian, None)
