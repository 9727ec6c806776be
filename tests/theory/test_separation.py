"""Planes between two kinds of rows, against linear programming; identical rows; what a probe knows of unseen rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fmcompress.theory.collapse import MOST_PAIRS, collapse_of, identical_groups
from fmcompress.theory.separation import generalisation, separate


def by_linear_programming(rows, positive):
    """The largest functional margin of a plane with weights of at most 1; above 0 where there is a plane."""
    linprog = pytest.importorskip("scipy.optimize").linprog
    count, dim = rows.shape
    signed = np.where(positive, 1.0, -1.0)[:, None] * np.hstack([rows, np.ones((count, 1))])
    goal, bounds = np.append(np.zeros(dim + 1), -1.0), [(-1, 1)] * dim + [(None, None), (None, 1)]
    return -linprog(goal, A_ub=np.hstack([-signed, np.ones((count, 1))]), b_ub=np.zeros(count), bounds=bounds).fun


@settings(max_examples=150, deadline=None)
@given(st.integers(2, 14), st.integers(1, 4), st.integers(0, 10_000))
def test_a_plane_is_found_where_there_is_one(objects, columns, seed):
    generator = np.random.default_rng(seed)
    rows = generator.integers(0, 4, (objects, columns)).astype(float)
    positive = generator.random(objects) < 0.5
    positive[:2] = True, False
    found = separate(rows, positive, 1e-9)
    assert found.separable is bool(by_linear_programming(rows, positive) > 1e-9)
    assert found.rank == np.linalg.matrix_rank(rows - rows.mean(axis=0))
    assert (found.margin is not None) == found.separable


def test_rows_around_others_are_parted_by_no_plane_and_a_margin_is_a_distance():
    ring = np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]], float)
    assert separate(ring, np.arange(5) == 0, 1e-9).separable is False
    line = np.array([[0.0], [1.0], [4.0], [5.0]])
    assert separate(line, np.array([False, False, True, True]), 1e-9).margin <= 1.5 + 1e-9
    assert separate(line, np.array([False, False, True, True]), 1e-9).margin > 0
    assert separate(line, np.array([False, True, False, True]), 1e-9).separable is False
    assert separate(line, np.array([False, False, True, True]), 2.0).separable is False  # closer than that is the same


def test_independent_rows_are_parted_whatever_their_labels_are():
    rows = np.random.default_rng(0).random((12, 30))
    for number in range(1, 40):
        positive = np.array([number * 37 >> bit & 1 for bit in range(12)], bool)
        found = separate(rows, positive, 1e-6)
        assert found.separable
        assert found.rank == 11


def test_groups_are_of_rows_within_the_tolerance_and_of_chains():
    rows = np.array([[0, 5], [1, 1], [0.05, 5], [0.1, 5], [3, 2], [2, 3]], float)
    groups = identical_groups(rows, 0.06)
    assert [np.flatnonzero(groups == number).tolist() for number in np.unique(groups)] == [[0, 2, 3], [1], [4], [5]]
    assert len(set(identical_groups(rows, 0.0).tolist())) == 6


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 12), st.integers(1, 3), st.integers(0, 10_000))
def test_groups_are_the_components_of_what_is_near(objects, columns, seed):
    rows = np.random.default_rng(seed).integers(0, 4, (objects, columns)).astype(float)
    near = abs(rows[:, None] - rows[None]).max(axis=2) <= 1
    for _ in range(objects):
        near = near @ near
    groups = identical_groups(rows, 1.0)
    assert ((groups[:, None] == groups[None]) == near).all()


def test_a_pair_at_the_edge_of_the_tolerance_is_near_whatever_its_size():
    """The means of large numbers that cancel are rounded by more than their own size tells."""
    row = np.random.default_rng(14).normal(size=6) * 1e6
    row -= row.mean()
    rows = np.array([row + 0.03, row])
    tolerance = float(abs(rows[0] - rows[1]).max())
    assert len(set(identical_groups(rows, tolerance).tolist())) == 1
    assert len(set(identical_groups(np.repeat(rows, 1000, axis=0), 0.0).tolist())) == 2


def test_the_fewer_of_each_group_will_be_wrong():
    rows = np.array([[1, 2]] * 5 + [[3, 4]] * 3 + [[5, 6 + 1e-9], [5, 6]], float)
    positive = np.array([1, 1, 0, 0, 0, 1, 1, 1, 1, 0], bool)
    found = collapse_of(rows, positive, identical_groups(rows, 1e-6), 1e-6)
    assert (found.pairs, found.bitwise, found.least_wrong) == (7, 6, 3)
    assert set(found.listed) == {(a, b) for a in (0, 1) for b in (2, 3, 4)} | {(8, 9)}
    many = collapse_of(np.ones((60, 1)), np.arange(60) < 30, identical_groups(np.ones((60, 1)), 0.0), 0.0)
    assert (many.pairs, many.bitwise, many.least_wrong, len(many.listed)) == (900, 900, 30, MOST_PAIRS)


def test_shares_on_unseen_rows_are_of_rows_whose_label_was_not_seen():
    pytest.importorskip("sklearn")
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(60, 80))
    positive = np.arange(60) < 30
    noise = generalisation(rows, positive)  # which a plane parts: 80 columns
    assert separate(rows, positive, 1e-6).separable
    assert noise.folds == 5
    assert 0.2 < noise.probe < 0.8
    assert 0.2 < noise.prompt < 0.8
    assert noise.majority == 0.5
    many = generator.normal(size=(20, 3000))  # some prompt of so many parts most of so few
    assert generalisation(many, positive[20:40]).prompt < 0.75
    rows[:, 7] += 8 * positive
    told = generalisation(rows, positive)
    assert told.prompt == 1
    assert told.probe > 0.9
    assert told == generalisation(rows, positive)
    assert generalisation(rows, np.arange(60) == 3).folds == 0


def test_the_nearest_other_row_is_by_distance():
    rows = np.array([[0.0], [1.0], [1.4], [9.0], [9.2]])
    assert generalisation(rows, np.array([True, True, False, False, False])).nearest == pytest.approx(3 / 5)
