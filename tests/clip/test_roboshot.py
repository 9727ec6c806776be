"""RoboShot against its closed forms, and what must not matter: how directions are written down."""

from itertools import combinations

import numpy as np
import pytest

from fmcompress.clip import group_report, normalised, predict
from fmcompress.clip.directions import between, debias_text, span, without
from fmcompress.clip.roboshot import RoboShot, roboshot
from fmcompress.clip.roboshot_adaptation import adapt_subspace
from fmcompress.errors import ConfigError

DIM = 48


@pytest.fixture
def draw() -> np.random.Generator:
    return np.random.default_rng(0)


def unit(draw: np.random.Generator, rows: int, dtype: type = np.float64) -> np.ndarray:
    return normalised(draw.standard_normal((rows, DIM))).astype(dtype)


def released(x: np.ndarray, reject: np.ndarray, accept: np.ndarray) -> np.ndarray:
    """Direction by direction, as published: each step scales to length 1 again."""
    for q in np.linalg.qr(reject.T)[0].T:
        x = normalised(x - (x @ q)[:, None] * q)
    for q in np.linalg.qr(accept.T)[0].T:
        x = normalised(x + (x @ q)[:, None] * q)
    return x


def test_closed_forms(draw: np.random.Generator) -> None:
    x, reject, accept = unit(draw, 100), draw.standard_normal((4, DIM)), draw.standard_normal((3, DIM))
    v, u = (np.linalg.qr(some.T)[0].T for some in (reject, accept))
    np.testing.assert_allclose(roboshot(x, reject), normalised(x - x @ v.T @ v), atol=1e-12)
    np.testing.assert_allclose(roboshot(x, None, accept), normalised(x + x @ u.T @ u), atol=1e-12)
    np.testing.assert_allclose(roboshot(x, reject, accept), released(x, reject, accept), atol=1e-12)


def test_modes_use_what_they_name(draw: np.random.Generator) -> None:
    x, reject, accept = unit(draw, 20), draw.standard_normal((4, DIM)), draw.standard_normal((3, DIM))
    np.testing.assert_array_equal(roboshot(x, reject, accept, mode="reject"), roboshot(x, reject))
    np.testing.assert_array_equal(roboshot(x, reject, accept, mode="accept"), roboshot(x, None, accept))
    with pytest.raises(ConfigError, match="got 'sideways'"):
        roboshot(x, reject, mode="sideways")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="order: expected"):
        roboshot(x, reject, order="first")  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rejected_directions_are_gone(draw: np.random.Generator, dtype: type) -> None:
    x, reject, accept = unit(draw, 100, dtype), draw.standard_normal((6, DIM)), draw.standard_normal((3, DIM))
    once = roboshot(x, reject)
    assert once.dtype == dtype
    assert abs(once @ normalised(reject).T).max() < 1e-6
    np.testing.assert_allclose(np.linalg.norm(once, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(roboshot(once, reject), once, atol=1e-6)
    last = roboshot(x, reject, accept, order="reject_last")
    assert abs(last @ normalised(reject).T).max() < 1e-6


def test_boosting_brings_some_of_it_back(draw: np.random.Generator) -> None:
    """The published order, so that what is documented stays true."""
    x, reject = unit(draw, 100), draw.standard_normal((6, DIM))
    both = roboshot(x, reject, reject[:3] + draw.standard_normal((3, DIM)))
    assert abs(both @ normalised(reject).T).max() > 1e-3


def test_how_directions_are_written_does_not_matter(draw: np.random.Generator) -> None:
    x, a, b = unit(draw, 50), unit(draw, 5), unit(draw, 5)
    directions = between(a, b)
    expected = roboshot(x, directions, directions)
    mixed = draw.standard_normal((7, 5)) @ directions
    for same in (
        between(b, a),
        directions[[3, 1, 4, 0, 2]],
        directions * np.array([[1e-6], [1], [10], [1e6], [3]]),
        np.vstack([directions, directions]),
        np.vstack([directions, mixed]),
    ):
        np.testing.assert_allclose(roboshot(x, same, same), expected, atol=1e-12)


@pytest.mark.parametrize("prompts", [6, 9])
def test_all_pairwise_differences_have_their_rank(draw: np.random.Generator, prompts: int) -> None:
    """Published code hands these to a QR factorisation, which fills up with rounding noise."""
    texts = unit(draw, prompts, np.float32)
    pairs = np.array(list(combinations(range(prompts), 2)))
    shot = RoboShot.fit(between(texts[pairs[:, 0]], texts[pairs[:, 1]]))
    assert shot.rank_reject == prompts - 1
    assert len(np.linalg.qr(shot.reject.T)[0].T) == len(pairs)  # what that factorisation would reject
    x = unit(draw, 2000)
    few = RoboShot.fit(texts[1:].astype(np.float64) - texts[0])
    np.testing.assert_allclose(shot.transform(x), few.transform(x), atol=1e-6)
    assert shot.energy(x).rejected == pytest.approx((prompts - 1) / DIM, rel=0.1)


def test_accept_doubles_what_lies_along_it(draw: np.random.Generator) -> None:
    x, q = unit(draw, 30), unit(draw, 1)
    after = roboshot(x, None, q)
    scale = (after - (after @ q.T) * q)[:, 0] / (x - (x @ q.T) * q)[:, 0]  # of what is orthogonal to it
    np.testing.assert_allclose((after @ q.T)[:, 0] / scale, 2 * (x @ q.T)[:, 0], rtol=1e-9)


def test_classes_off_the_span_keep_their_order(draw: np.random.Generator) -> None:
    x, reject = unit(draw, 200), draw.standard_normal((4, DIM))
    text = normalised(without(unit(draw, 5), span(reject, 1e-5)))
    np.testing.assert_array_equal(predict(roboshot(x, reject), text), predict(x, text))


def test_rows_that_would_vanish_stay(draw: np.random.Generator) -> None:
    reject = draw.standard_normal((3, DIM))
    x = np.vstack([unit(draw, 2), normalised(reject[:1]), unit(draw, 1)])
    for dtype in (np.float32, np.float64):
        given = x.astype(dtype)
        applied = RoboShot.fit(reject).apply(given)
        assert applied.unchanged.tolist() == [2]
        np.testing.assert_array_equal(applied.vectors[2], given[2])


def test_nothing_to_do(draw: np.random.Generator) -> None:
    x = unit(draw, 5)
    np.testing.assert_allclose(roboshot(x), x, atol=1e-15)
    np.testing.assert_allclose(roboshot(x, np.empty((0, DIM))), x, atol=1e-15)
    assert roboshot(x[:0], unit(draw, 2)).shape == (0, DIM)


def test_in_place(draw: np.random.Generator) -> None:
    x, reject, accept = unit(draw, 5000), draw.standard_normal((4, DIM)), draw.standard_normal((3, DIM))
    expected = roboshot(x, reject, accept)
    out = np.empty_like(x)
    assert roboshot(x, reject, accept, out=out) is out
    np.testing.assert_array_equal(out, expected)
    assert roboshot(x, reject, accept, out=x) is x
    np.testing.assert_array_equal(x, expected)
    with pytest.raises(ConfigError, match="out: expected a contiguous matrix"):
        roboshot(x, reject, out=out[1:])


def test_bad_input(draw: np.random.Generator) -> None:
    x, reject = unit(draw, 5), unit(draw, 2)
    broken = x.copy()
    broken[3, 0] = np.nan
    for told, embeddings, directions in (
        ("embeddings: expected 48 columns, got 40", normalised(x[:, :40]), reject),
        ("embeddings: expected finite numbers", broken, reject),
        ("embeddings: expected rows of length 1", x * 2, reject),
        ("reject: direction 1 has length 0", x, reject * [[1], [0]]),
        ("reject: expected finite numbers", x, broken[2:4]),
        ("reject: expected a matrix", x, reject[0]),
    ):
        with pytest.raises(ConfigError, match=told):
            roboshot(embeddings, directions)
    with pytest.raises(ConfigError, match="accept: expected 48 columns"):
        roboshot(x, reject, reject[:, :40])
    with pytest.raises(ConfigError, match="pair 1 have the same embedding"):
        between(x[:2], np.vstack([x[3], x[1]]))
    with pytest.raises(ConfigError, match="rank_tol: expected"):
        roboshot(x, reject, rank_tol=0)


def concepts(draw: np.random.Generator, rows: int = 4000) -> tuple[np.ndarray, ...]:
    """Rows of a telling, a harmful and some neutral concepts; both of the former are signs, and 90 % agree."""
    z = np.linalg.qr(draw.standard_normal((DIM, DIM)))[0].T
    label = draw.integers(0, 2, rows)
    place = np.where(draw.random(rows) < 0.9, label, 1 - label)
    x = np.outer(2 * label - 1, z[0]) + 1.5 * np.outer(2 * place - 1, z[1]) + 0.4 * draw.standard_normal((rows, DIM))
    text = normalised(np.stack([-z[0] - z[1], z[0] + z[1]]))
    return normalised(x), label, label * 2 + place, text, z


def test_worst_group_rises_with_the_quality_of_insights(draw: np.random.Generator) -> None:
    x, label, groups, text, z = concepts(draw)
    wrong = without(unit(draw, 1), z[:2])  # what the language model adds to the truth
    worst, harmful = [], []
    for noise in (100.0, 2.0, 1.0, 0.5, 0.0):
        insight = z[1:2] + noise * normalised(wrong)
        after = roboshot(x, insight)
        worst.append(group_report(label, predict(after, text), groups).worst)
        harmful.append(abs(after @ z[1]).mean())
    assert worst == sorted(worst)
    assert harmful == sorted(harmful, reverse=True)
    assert worst[-1] > worst[0] + 0.5
    assert harmful[-1] < 1e-12


def test_adaptation_begins_at_roboshot_and_improves(draw: np.random.Generator) -> None:
    x, *_, z = concepts(draw, 1000)
    rough = z[1:2] + 0.5 * normalised(draw.standard_normal((1, DIM)))
    shot = RoboShot.fit(rough, z[:1])
    none = adapt_subspace(shot, x, steps=0)
    np.testing.assert_array_equal(none.shot.transform(x), shot.transform(x))
    left = x - np.outer(x @ shot.basis_reject[0], shot.basis_reject[0])
    left /= np.linalg.norm(left, axis=1, keepdims=True)
    along = abs(left @ normalised(rough).T).mean() - abs(left @ z[0]).mean()
    assert adapt_subspace(shot, x, held_out=x, steps=0).losses == pytest.approx((along,), rel=1e-10)
    found = adapt_subspace(shot, x, seed=1)
    again = adapt_subspace(shot, x, seed=1)
    np.testing.assert_array_equal(found.shot.basis_reject, again.shot.basis_reject)
    assert found.losses[found.step] == min(found.losses) <= found.losses[0]
    assert np.allclose(found.shot.basis_reject @ found.shot.basis_reject.T, np.eye(1))
    with pytest.raises(ConfigError, match="nothing is rejected"):
        adapt_subspace(RoboShot.fit(None, z[:1]), x)
    with pytest.raises(ConfigError, match="1 rows are too few"):
        adapt_subspace(shot, x[:1])


def test_debias_text(draw: np.random.Generator) -> None:
    text, spurious = unit(draw, 3), unit(draw, 4)
    alike = unit(draw, 5), unit(draw, 5)
    apart = alike[0] - alike[1]
    basis = span(spurious, 1e-5)
    project = np.eye(DIM) - basis.T @ basis
    pull = np.linalg.inv(1000 * apart.T @ apart / 5 + np.eye(DIM))
    np.testing.assert_allclose(debias_text(text, spurious, alike), normalised(text @ (project @ pull).T), atol=1e-10)
    np.testing.assert_allclose(debias_text(text, spurious), normalised(text @ project), atol=1e-12)
    with pytest.raises(ConfigError, match="nothing is left of class 1"):
        debias_text(np.vstack([text[:1], spurious[:1]]), spurious)
