"""Nearest neighbours in chunks against brute force."""

import tracemalloc

import numpy as np
import pytest

from fmcompress.clip import normalised
from fmcompress.clip.contrastive_pairs import Pairs
from fmcompress.clip.negatives import nearest
from fmcompress.errors import ConfigError


def unit(rows: int, dim: int = 24, seed: int = 0) -> np.ndarray:
    return normalised(np.random.default_rng(seed).standard_normal((rows, dim)))


def brute(x: np.ndarray, queries: np.ndarray, count: int) -> np.ndarray:
    near = x @ x.T
    np.fill_diagonal(near, -np.inf)
    return np.argsort(-near[queries], axis=1, kind="stable")[:, :count]


@pytest.mark.parametrize("chunk_rows", [7, 64, 10_000])
@pytest.mark.parametrize("count", [1, 10, 299, 1000])
def test_as_brute_force(chunk_rows: int, count: int) -> None:
    x = unit(300)
    queries = np.random.default_rng(1).permutation(300)[:50]
    found = nearest(x, queries, count, chunk_rows=chunk_rows, chunk_queries=16)
    np.testing.assert_array_equal(found, brute(x, queries, min(count, 299)))


def test_holds_no_matrix_of_all_similarities() -> None:
    x = unit(6000, 8)
    tracemalloc.start()
    nearest(x, np.arange(6000), 20, chunk_rows=512, chunk_queries=64)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6000 * 6000 * 8 / 50


def test_bad_input() -> None:
    x = unit(5)
    assert nearest(x, np.empty(0, int), 3).shape == (0, 3)
    assert nearest(x[:1], np.array([0]), 3).shape == (1, 0)
    for told, queries, count in (
        ("at least 1 neighbour", [0], 0),
        ("numbers of 5 rows", [5], 1),
        ("numbers of 5 rows", [[0]], 1),
    ):
        with pytest.raises(ConfigError, match=told):
            nearest(x, np.array(queries), count)


def test_every_anchor_has_its_own_neighbours() -> None:
    """Published code looks an anchor's negatives up by its place among the anchors, in a table of all rows."""
    x, draw = unit(200), np.random.default_rng(2)
    labels, predicted = draw.integers(0, 3, 200), draw.integers(0, 3, 200)
    pairs = Pairs(x, labels, predicted, 5, 5, 5)
    np.testing.assert_array_equal(pairs.near, brute(x, pairs.anchors, 5))
    assert (pairs.near != brute(x, np.arange(len(pairs.anchors)), 5)).any()
    for block in pairs.blocks(16, draw):
        for anchor, negatives in zip(block.anchors, block.negatives, strict=True):
            assert set(negatives) == set(brute(x, np.array([anchor]), 5)[0])


def test_anchors_positives_and_negatives_are_what_they_should_be() -> None:
    x, draw = unit(300), np.random.default_rng(3)
    labels, predicted = draw.integers(0, 3, 300), draw.integers(0, 3, 300)
    pairs = Pairs(x, labels, predicted, 20, 15, 60)
    blocks = list(pairs.blocks(32, draw))
    anchors = np.concatenate([block.anchors for block in blocks])
    np.testing.assert_array_equal(np.sort(anchors), np.flatnonzero(labels != predicted))
    for block in blocks:
        own = labels[block.anchors][:, None]
        assert (labels[block.positives] == own)[block.positive_mask].all()
        assert (predicted[block.positives] == own)[block.positive_mask].all()
        assert ((labels[block.negatives] != own) == block.negative_mask).all()
        assert block.negatives.shape[1] == 15
        assert all(len(set(row)) == len(row) for row in block.negatives)


def test_classes_without_anchors_are_named() -> None:
    x, labels = unit(60), np.repeat([0, 1, 2], 20)
    predicted = labels.copy()
    predicted[20:25] = 0
    predicted[40:] = 0
    pairs = Pairs(x, labels, predicted, 4, 4, 10)
    np.testing.assert_array_equal(pairs.anchors, np.arange(20, 25))
    assert pairs.notes == [
        "class 0: no contrastive anchors, since zero-shot is right about all of its rows",
        "class 2: no contrastive anchors, since zero-shot is wrong about all of its rows",
    ]
