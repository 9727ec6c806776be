"""The linear probe, and heads between zero-shot and fitted."""

import numpy as np
import pytest
from clip_cases import unit_rows

from fmcompress.clip import LinearHead, linear_probe, normalised, predict, wise_ft, zero_shot_head
from fmcompress.errors import ConfigError

pytest.importorskip("sklearn")


def blobs(classes=3, rows=60, dtype=np.float64, seed=0, noise=0.5):
    generator = np.random.default_rng(seed)
    centres, labels = unit_rows(classes, 8, 7, np.float64), np.arange(rows) % classes
    return normalised(centres[labels] + noise * generator.standard_normal((rows, 8))).astype(dtype), labels


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("classes", [2, 3])
def test_the_gradient_is_zero_where_it_stops(dtype, classes):
    """At the least of C * cross entropy + |w|^2 / 2 the gradient of both cancels out: no library is believed."""
    vectors, labels = blobs(classes, dtype=dtype)
    head = linear_probe(vectors, labels, classes, c=1.0, max_iter=5000)
    logits = head.logits(vectors).astype(float)
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    pull = (shares - np.eye(classes)[labels]).T @ vectors
    # of two classes scikit-learn regularises the difference w of the rows: |w|^2 / 2 is |row|^2 of both together
    weight = 2 if classes == 2 else 1
    assert abs(pull + weight * head.weights).max() < 0.02
    assert (head.weights.dtype, head.converged, head.c) == (dtype, True, 1.0)


def test_equal_inputs_give_equal_weights():
    vectors, labels = blobs()
    one, other = (linear_probe(vectors, labels, 3) for _ in range(2))
    assert (one.weights == other.weights).all()
    assert one.c == 0.316


def test_c_is_chosen_on_val_by_average_or_worst_group():
    vectors, labels = blobs(rows=30, noise=0.9)
    val = blobs(rows=300, seed=1, noise=0.9)
    sweep = (1e-4, 1.0, 1e4)
    accuracy = {c: (linear_probe(vectors, labels, 3, c=c).predict(val[0]) == val[1]).mean() for c in sweep}
    chosen = linear_probe(vectors, labels, 3, val=val, sweep=sweep)
    assert accuracy[chosen.c] == max(accuracy.values())
    worst = {
        c: min((linear_probe(vectors, labels, 3, c=c).predict(val[0]) == val[1])[val[1] == k].mean() for k in range(3))
        for c in sweep
    }
    chosen = linear_probe(vectors, labels, 3, val=val, val_groups=val[1], sweep=sweep)
    assert worst[chosen.c] == max(worst.values())


def test_a_fit_that_is_cut_short_says_so():
    vectors, labels = blobs()
    assert not linear_probe(vectors, labels, 3, c=1e4, max_iter=2).converged


def test_wise_ft_ends_are_exact():
    vectors, labels = blobs(dtype=np.float32)
    zero, fitted = zero_shot_head(unit_rows(3), 100.0), linear_probe(vectors, labels, 3)
    assert (wise_ft(zero, fitted, 0).weights == zero.weights).all()
    assert (wise_ft(zero, fitted, 1).weights == fitted.weights).all()
    assert (wise_ft(zero, fitted, 1).bias == fitted.bias).all()
    middle = wise_ft(zero, fitted, 0.5)
    assert abs(middle.logits(vectors) - (zero.logits(vectors) + fitted.logits(vectors)) / 2).max() < 1e-4
    assert (zero.predict(vectors) == predict(vectors, unit_rows(3))).all()


def test_bad_input_is_told():
    vectors, labels = blobs()
    with pytest.raises(ConfigError, match="class 3 has no row"):
        linear_probe(vectors, labels, 4)
    with pytest.raises(ConfigError, match="c: expected a number above 0"):
        linear_probe(vectors, labels, 3, c=0)
    with pytest.raises(ConfigError, match="sweep: expected"):
        linear_probe(vectors, labels, 3, val=(vectors, labels), sweep=())
    head = LinearHead(np.ones((3, 8)), np.zeros(3))
    with pytest.raises(ConfigError, match="alpha: expected a number from 0 to 1, got 1"):
        wise_ft(head, head, 1.5)
    with pytest.raises(ConfigError, match="heads: expected two of one shape"):
        wise_ft(head, LinearHead(np.ones((2, 8)), np.zeros(2)), 0.5)


def test_of_equally_good_strengths_the_least_is_taken():
    vectors, labels = blobs(noise=0.01)
    assert linear_probe(vectors, labels, 3, val=(vectors, labels), sweep=(10.0, 1.0, 0.1)).c == 0.1
