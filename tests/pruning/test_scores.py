"""Magnitude and Wanda: the weights of lowest score go, and no other changes."""

import numpy as np
import pytest
import torch

from fmcompress import NM, Unstructured, magnitude, wanda
from fmcompress.errors import CalibrationError, ConfigError


def lowest(scores, pattern, scope):
    """The mask by sorting, in NumPy."""
    rows, cols = scores.shape
    if isinstance(pattern, NM):
        segments, count = scores.reshape(-1, pattern.group), pattern.group - pattern.keep
    else:
        segments = scores if scope == "row" else scores.reshape(1, -1)
        count = pattern.zeros(rows, cols) // len(segments)
    mask = np.zeros(segments.shape, dtype=bool)
    np.put_along_axis(mask, np.argsort(segments, axis=1, kind="stable")[:, :count], True, axis=1)
    return mask.reshape(rows, cols)


@pytest.mark.parametrize("pattern", [Unstructured(0.5), Unstructured(0.3, "row"), Unstructured(0.7, "layer"), NM(2, 4)])
def test_wanda_is_weight_times_norm_of_the_input(make_weight, make_hessian, pattern):
    weight, hessian = make_weight(9, 36), make_hessian(36)
    result = wanda(weight, hessian, pattern)
    scores = weight.abs().numpy() * np.sqrt(np.diag(hessian.numpy()))
    mask = lowest(
        scores,
        Unstructured(0.5, "row") if pattern == Unstructured(0.5) else pattern,
        getattr(pattern, "scope", "").replace("block", "row"),
    )
    assert np.array_equal(result.weight.numpy(), np.where(mask, 0.0, weight.numpy()))
    assert result.zeros == mask.sum()
    delta = (weight - result.weight).numpy()
    assert result.loss == pytest.approx(np.trace(delta @ hessian.numpy() @ delta.T))


def test_wanda_with_equal_inputs_is_magnitude_by_rows(make_weight):
    weight = make_weight(8, 40, torch.float32)
    assert torch.equal(
        wanda(weight, torch.eye(40), Unstructured(0.5)).weight, magnitude(weight, Unstructured(0.5, "row")).weight
    )


def test_a_dead_input_goes_first(make_weight, make_hessian):
    weight, hessian = make_weight(6, 32), make_hessian(32, dead=(3, 17))
    assert not wanda(weight, hessian, Unstructured(0.5)).weight[:, [3, 17]].any()


def test_bad_input_is_refused(make_weight, make_hessian):
    weight, hessian = make_weight(4, 16), make_hessian(16)
    with pytest.raises(ConfigError, match=r"hessian: expected \[16, 16\]"):
        wanda(weight, make_hessian(8), Unstructured(0.5))
    with pytest.raises(ConfigError, match="pattern 2:5"):
        wanda(weight, hessian, NM(2, 5))
    with pytest.raises(CalibrationError, match="inf or NaN"):
        wanda(weight.index_fill(0, torch.tensor([1]), torch.nan), hessian, Unstructured(0.5))
