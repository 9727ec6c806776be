"""The error of prompts joined by OR, against trying all sets of them."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fmcompress.theory.covers import best_cover, cover_of, greedy_covers, smallest_cover
from fmcompress.theory.findings import HALF


@st.composite
def tasks(draw, most_objects=7, most_prompts=6):
    """Calibrated scores with few values, so that many are equal, and labels of both kinds."""
    objects, prompts = draw(st.integers(2, most_objects)), draw(st.integers(1, most_prompts))
    steps = draw(st.integers(1, 9))
    values = draw(st.lists(st.integers(0, steps), min_size=objects * prompts, max_size=objects * prompts))
    positive = draw(
        st.lists(st.booleans(), min_size=objects, max_size=objects).filter(lambda some: 0 < sum(some) < objects)
    )
    return np.array(values, float).reshape(objects, prompts) / steps, np.array(positive)


def error_of(unit, positive, prompts):
    """max over objects of |max over prompts of S - t|, in loops."""
    worst = 0.0
    for row, yes in zip(unit, positive, strict=True):
        worst = max(worst, abs(max(row[at] for at in prompts) - float(yes)))
    return worst


def least_error(unit, positive, size):
    columns = range(unit.shape[1])
    sets = [some for count in range(1, size + 1) for some in combinations(columns, count)]
    return min(error_of(unit, positive, some) for some in sets)


@settings(max_examples=150, deadline=None)
@given(tasks(), st.integers(1, 4))
def test_the_least_error_of_k_prompts_is_that_of_all_sets_of_k(task, size):
    unit, positive = task
    found = best_cover(unit, positive, size, HALF)
    assert found.error == pytest.approx(least_error(unit, positive, size), abs=1e-12)
    assert 1 <= len(found.prompts) <= size
    assert error_of(unit, positive, found.prompts) == pytest.approx(found.error, abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(tasks())
def test_a_known_error_changes_nothing(task):
    unit, positive = task
    known = greedy_covers(unit, positive, 2, HALF)[-1].error
    assert best_cover(unit, positive, 2, HALF, known).error == best_cover(unit, positive, 2, HALF).error


@settings(max_examples=100, deadline=None)
@given(tasks())
def test_greedy_covers_say_what_they_reach_and_are_never_below_the_exact_error(task):
    unit, positive = task
    covers = greedy_covers(unit, positive, 4, HALF)
    for size, cover in enumerate(covers, 1):
        assert len(cover.prompts) == size
        assert cover == cover_of(unit, positive, cover.prompts, HALF)
        assert cover.error >= best_cover(unit, positive, size, HALF).error
    keys = [(cover.wrong, cover.error) for cover in covers]
    assert keys == sorted(keys, reverse=True)
    first = [
        (cover_of(unit, positive, [at], HALF).wrong, error_of(unit, positive, [at])) for at in range(unit.shape[1])
    ]
    assert keys[0] == pytest.approx(min(first))


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 6), st.integers(1, 7), st.integers(1, 6), st.data())
def test_the_smallest_cover_is_that_of_all_subsets(items, columns, most, data):
    bits = data.draw(st.lists(st.booleans(), min_size=items * columns, max_size=items * columns))
    sets = np.array(bits).reshape(items, columns)
    covering = [
        some
        for size in range(1, columns + 1)
        for some in combinations(range(columns), size)
        if sets[:, some].any(axis=1).all()
    ]
    found, certain = smallest_cover(sets, most)
    assert certain
    if covering and len(covering[0]) <= most:
        assert len(found) == len(covering[0])
        assert sets[:, found].any(axis=1).all()
    else:
        assert found is None


def test_a_search_out_of_budget_says_so():
    generator = np.random.default_rng(0)
    sets = generator.random((40, 60)) < 0.2
    found, certain = smallest_cover(sets, 40, budget=3)
    assert not certain
    assert sets[:, found].any(axis=1).all()
    assert smallest_cover(sets, 2, budget=1) == (None, False)
    unit = generator.random((40, 60))
    assert best_cover(unit, np.arange(40) < 20, 4, HALF, budget=0) is None


def test_wrong_counts_what_is_off_by_more_than_the_limit():
    unit = np.array([[0.9, 0.1], [0.5, 0.2], [0.1, 0.6], [0.4, 0.3]])
    positive = np.array([True, True, False, False])
    assert cover_of(unit, positive, [0], HALF).wrong == 1  # 0.5 is on no side
    assert cover_of(unit, positive, [0, 1], HALF).wrong == 2
    assert cover_of(unit, positive, [0], 0.05).wrong == 4
    assert cover_of(unit, positive, [], HALF).wrong == 2


def test_sets_that_alone_hold_something_are_no_search():
    """Recursion would end at a thousand, and the search for a thousand prompts at 4,000 sets."""
    sets = np.eye(5000, dtype=bool)
    sets[:, 0] |= np.arange(5000) % 2 == 0
    found, certain = smallest_cover(sets, 5000)
    assert certain
    assert found == [0, *range(1, 5000, 2)]


def test_a_search_that_would_be_too_deep_says_so():
    """Of each four sets two are needed, and none is alone."""
    sets = np.kron(np.eye(520, dtype=bool), np.eye(4, dtype=bool) | np.roll(np.eye(4, dtype=bool), 1, axis=0))
    found, certain = smallest_cover(sets, 2080)
    assert not certain
    assert sets[:, found].any(axis=1).all()
    few, certain = smallest_cover(sets[:40, :40], 40)
    assert (len(few), certain) == (20, True)
