"""The refit against the normal equations, solved row by row in float64."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fmcompress import NM, Unstructured, magnitude, refit, sparsegpt
from fmcompress.errors import CalibrationError, ConfigError

PATTERNS = [Unstructured(0.5), Unstructured(0.9, "row"), NM(2, 4)]


def normal_equations(weight, pruned, hessian, damping):
    weight, pruned, hessian = (tensor.double().numpy() for tensor in (weight, pruned, hessian))
    damped = hessian + damping * np.diag(hessian)[np.diag(hessian) > 0].mean() * np.eye(len(hessian))
    solved = np.zeros_like(weight)
    for i, row in enumerate(pruned):
        kept = np.flatnonzero(row)
        solved[i, kept] = np.linalg.solve(damped[np.ix_(kept, kept)], damped[kept] @ weight[i])
    return solved


@pytest.mark.parametrize("pattern", PATTERNS, ids=repr)
def test_it_converges_to_the_normal_equations(make_weight, make_hessian, pattern):
    weight, hessian = make_weight(12, 96), make_hessian(96)
    pruned = magnitude(weight, pattern).weight
    expected = normal_equations(weight, pruned, hessian, 0.01)
    exact = refit(weight, pruned, hessian, steps=400, damping=0.01, tolerance=1e-12)
    np.testing.assert_allclose(exact.weight.numpy(), expected, rtol=1e-6, atol=1e-8)
    single = refit(weight.float(), pruned.float(), hessian.float(), steps=400, damping=0.01)
    np.testing.assert_allclose(single.weight.numpy(), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    assert torch.equal(exact.weight == 0, pruned == 0)
    delta = weight.numpy() - exact.weight.numpy()
    assert exact.loss == pytest.approx(np.trace(delta @ hessian.numpy() @ delta.T))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(1, 9),
    cols=st.integers(2, 40),
    samples=st.integers(1, 60),
    sparsity=st.floats(0, 1),
    steps=st.integers(0, 12),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
)
def test_the_error_never_rises(seed, rows, cols, samples, sparsity, steps, dtype):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(samples, cols, generator=generator) * torch.rand(cols, generator=generator)  # often singular
    hessian = inputs.T @ inputs
    weight = torch.randn(rows, cols, generator=generator).to(dtype)
    pruned = magnitude(weight, Unstructured(sparsity)).weight
    result = refit(weight, pruned, hessian, steps=steps)

    def error(solved):
        delta = (solved.double() - weight.double()) @ hessian.double()
        return (delta * (solved.double() - weight.double())).sum(1)

    before, after = error(pruned), error(result.weight)
    assert (after <= before + 1e-5 * (1 + before)).all()
    assert not (result.weight[pruned == 0] != 0).any()
    assert result.weight.dtype == dtype


def test_more_steps_are_not_worse_and_it_improves_every_method(make_weight, make_hessian):
    weight, hessian = make_weight(16, 128, torch.float32), make_hessian(128, torch.float32)
    for pruned in (magnitude(weight, NM(2, 4), hessian), sparsegpt(weight, hessian, NM(2, 4))):
        losses = [pruned.loss, *(refit(weight, pruned.weight, hessian, steps=n, damping=0.0).loss for n in (1, 5, 40))]
        assert all(later <= earlier * (1 + 1e-5) for earlier, later in pairwise(losses))
        assert losses[-1] < 0.9 * losses[0]


def test_dead_columns_and_nothing_kept(make_weight, make_hessian):
    weight, hessian = make_weight(5, 24), make_hessian(24, dead=(2, 3))
    pruned = weight.clone()
    pruned[:, ::2] = 0
    result = refit(weight, pruned, hessian)
    assert torch.equal(result.weight[:, 3], pruned[:, 3])
    assert result.dead_columns == 2
    assert refit(weight, torch.zeros_like(weight), hessian).zeros == weight.numel()
    assert torch.equal(refit(weight, pruned, torch.zeros(24, 24, dtype=torch.float64)).weight, pruned)


def test_bad_input_is_refused(make_weight, make_hessian):
    weight, hessian = make_weight(4, 16), make_hessian(16)
    with pytest.raises(ConfigError, match=r"pruned: expected \[4, 16\]"):
        refit(weight, make_weight(4, 8), hessian)
    with pytest.raises(ConfigError, match="steps and damping"):
        refit(weight, weight, hessian, steps=-1)
    with pytest.raises(CalibrationError, match="inf or NaN"):
        refit(weight, weight * torch.inf, hessian)
