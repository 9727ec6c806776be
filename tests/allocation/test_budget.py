"""Shares become whole weights, and of all layers together exactly as many as of one large layer."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fmcompress import Unstructured
from fmcompress.allocation import exact_shares, whole_zeros

quick = settings(derandomize=True, deadline=None, max_examples=200, database=None)


@st.composite
def layers_of_one_budget(draw):
    """Sizes, and shares whose weighted mean is what comes out of them."""
    sizes = draw(st.lists(st.integers(1, 5000), min_size=1, max_size=40))
    shares = draw(st.lists(st.floats(0, 1), min_size=len(sizes), max_size=len(sizes)))
    names = [f"layer {number}" for number in range(len(sizes))]
    weights = dict(zip(names, sizes, strict=True))
    mean = sum(size * share for size, share in zip(sizes, shares, strict=True)) / sum(sizes)
    return dict(zip(names, shares, strict=True)), weights, min(1.0, mean)


@quick
@given(layers_of_one_budget())
def test_the_budget_is_exact_and_prune_counts_alike(case) -> None:
    shares, weights, sparsity = case
    zeros = whole_zeros(shares, weights, sparsity)
    assert sum(zeros.values()) == Unstructured(sparsity).zeros(1, sum(weights.values()))
    for name, count in zeros.items():
        assert 0 <= count <= weights[name]
        assert abs(count - shares[name] * weights[name]) < 1 + 1e-6
    for name, share in exact_shares(shares, weights, sparsity).items():
        assert Unstructured(share).zeros(1, weights[name]) == zeros[name]


def test_those_that_lose_most_are_rounded_up() -> None:
    shares, weights = {"a": 0.29, "b": 0.25, "c": 0.26}, {"a": 10, "b": 10, "c": 10}
    assert whole_zeros(shares, weights, 0.8 / 3) == {"a": 3, "b": 2, "c": 3}


@pytest.mark.parametrize("sparsity", [0.4, 0.6])
def test_shares_of_another_mean_are_refused(sparsity: float) -> None:
    with pytest.raises(ValueError, match=f"expected a mean of {sparsity}"):
        whole_zeros({"a": 0.5, "b": 0.5}, {"a": 100, "b": 100}, sparsity)
