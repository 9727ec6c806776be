"""Matrices of embeddings and what is known of their rows: what is taken, and what is refused in which words."""

import numpy as np
import pytest
from clip_cases import unit_rows

from fmcompress.clip import EmbeddingSet, normalised
from fmcompress.clip.vectors import as_labels, as_matrix
from fmcompress.errors import ConfigError


def test_rows_get_length_one_and_zeros_stay():
    rows = normalised(np.array([[3.0, 4.0], [0.0, 0.0]]))
    assert rows.tolist() == [[0.6, 0.8], [0.0, 0.0]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_matrix_is_not_copied(dtype):
    rows = unit_rows(5, dtype=dtype)
    assert np.shares_memory(as_matrix(rows, "it"), rows)


def test_half_precision_becomes_single_and_its_rounding_passes():
    assert as_matrix(unit_rows(50, 512).astype(np.float16), "it").dtype == np.float32


@pytest.mark.parametrize(
    ("vectors", "told"),
    [
        (np.ones(3), r"it: expected a matrix \[rows, dim\] of floats, got \[3\] of float64"),
        (np.ones((2, 2), int), "of floats, got .* of int64"),
        (np.array([[1.0, 0.0], [np.nan, 1.0]]), r"NaN, infinity or overflow, in 1 of 2 rows \(the first is 1\)"),
        (np.array([[np.inf, 0.0]]), "NaN, infinity or overflow"),
        (np.full((1, 4), 1e30, np.float32), "NaN, infinity or overflow"),
        (np.array([[1.0, 0.0], [0.0, 0.0], [2.0, 0.0]]), r"length 1, in 2 of 3 rows \(the first is 1\)\. Normalise"),
    ],
)
def test_what_is_no_embedding_is_refused(vectors, told):
    with pytest.raises(ConfigError, match=told):
        as_matrix(vectors, "it")


def test_other_widths_are_refused():
    with pytest.raises(ConfigError, match="it: expected 9 columns, got 8"):
        as_matrix(unit_rows(2), "it", 9)


@pytest.mark.parametrize("labels", [[0, 3], [0, -1], [0.0, 1.0], [0], [[0, 1]]])
def test_what_is_no_label_is_refused(labels):
    with pytest.raises(ConfigError, match="labels: expected"):
        as_labels(labels, "labels", 2, 3)


def test_rows_take_all_that_is_known_along():
    found = EmbeddingSet(
        unit_rows(3), ("a", "b", "c"), np.array([0, 1, -1]), ("x", "y"), np.array([1, 0, 0]), ("g", "h"),
        ("train", "test", "test"), {"model": "m"}, 100.0, -1.0,
    )  # fmt: skip
    part = found.split("test")
    assert (part.names, part.labels.tolist(), part.groups.tolist()) == (("b", "c"), [1, -1], [0, 0])
    assert (part.classes, part.identity, part.logit_scale) == (found.classes, {"model": "m"}, 100.0)
    assert (part.vectors == found.vectors[1:]).all()
    assert found.rows(np.array([True, False, False])).names == ("a",)
    with pytest.raises(ConfigError, match="no row is of split 'val'"):
        found.split("val")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"names": ("a",)}, "names: expected 2"),
        ({"splits": ("train", "tets")}, "split: expected one of train, val, test, got 'tets'"),
        ({"labels": np.array([0, 2]), "classes": ("a", "b")}, "labels: expected numbers of 2 classes"),
        ({"labels": np.array([0, -2]), "classes": ("a", "b")}, "labels: expected numbers of 2 classes"),
        ({"groups": np.array([0]), "group_names": ("a",)}, "groups: expected 2 whole numbers"),
    ],
)
def test_what_does_not_fit_is_refused(options, told):
    with pytest.raises(ConfigError, match=told):
        EmbeddingSet(unit_rows(2), **options)
