"""Accuracy by group: against numbers worked out by hand, and a published way of weighting them."""

import numpy as np
import pytest

from fmcompress.clip import group_report
from fmcompress.clip.groups import labelled_report, wilson
from fmcompress.errors import ConfigError

LABELS = [0, 0, 0, 0, 1, 1, 1, 1, 1, 1]
PREDICTED = [0, 0, 0, 1, 1, 1, 0, 0, 0, 0]
GROUPS = [0, 0, 0, 0, 1, 1, 1, 1, 1, 1]


def test_every_figure_of_a_small_example():
    report = group_report(LABELS, PREDICTED, GROUPS, ("land", "water"), train_counts=[90, 10])
    assert (report.average, report.mean, report.worst_group) == (0.5, (3 / 4 + 1 / 3) / 2, "water")
    assert report.worst == pytest.approx(1 / 3)
    assert report.gap == pytest.approx(0.5 - 1 / 3)
    assert report.adjusted == pytest.approx(0.9 * 0.75 + 0.1 / 3)
    assert [(group.name, group.rows) for group in report.groups] == [("land", 4), ("water", 6)]
    assert report.empty == ()


def test_waterbirds_average_is_weighted_by_training():
    """As papers report it: by the training rows 3498, 184, 56, 1057 of the four groups."""
    counts, shares = np.array([3498, 184, 56, 1057]), np.array([0.99, 0.80, 0.60, 0.95])
    groups = np.repeat(np.arange(4), 100)
    right = np.concatenate([np.arange(100) < 100 * share for share in shares])
    report = group_report(right, np.ones(400, bool), groups, train_counts=counts)
    assert report.adjusted == pytest.approx((counts * shares).sum() / counts.sum())
    assert report.average == pytest.approx(shares.mean())


def test_wilson_against_published_numbers():
    """Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29."""
    for hits, rows, low, high in [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611),
                                  (1, 29, 0.0061, 0.1718)]:  # fmt: skip
        assert wilson(hits, rows) == pytest.approx((low, high), abs=5e-5)


def test_groups_without_rows_are_named_and_in_no_figure():
    report = group_report(LABELS, PREDICTED, GROUPS, ("land", "water", "air"))
    assert report.empty == ("air",)
    assert report.mean == (3 / 4 + 1 / 3) / 2
    with pytest.raises(ConfigError, match="group 'air' has no row here"):
        group_report(LABELS, PREDICTED, GROUPS, ("land", "water", "air"), train_counts=[1, 1, 1])
    without = group_report(LABELS, PREDICTED, GROUPS, ("land", "water", "air"), train_counts=[1, 1, 0])
    assert without.adjusted == report.mean


@pytest.mark.parametrize(
    ("labels", "predicted", "groups", "options", "told"),
    [
        ([0], [0, 1], [0], {}, r"predictions: expected one for each of the labels, got \[2\] for \[1\]"),
        ([], [], [], {}, "predictions: expected one"),
        ([0, 1], [0, 1], [0, -1], {}, "groups: expected numbers"),
        ([0, 1], [0, 1], [0, 1], {"train_counts": [1, 2, 3]}, "train_counts: expected 2 numbers"),
        ([0, 1], [0, 1], [0, 1], {"train_counts": [-1, 2]}, "train_counts: expected 2 numbers"),
        ([0, 1], [0, 1], [0, 2], {"group_names": ("a", "b")}, "groups: expected numbers of 2 classes"),
    ],
)
def test_bad_input_is_told(labels, predicted, groups, options, told):
    with pytest.raises(ConfigError, match=told):
        group_report(labels, predicted, groups, **options)


def test_order_of_rows_does_not_matter():
    order = np.random.default_rng(0).permutation(10)
    shuffled = (np.array(each)[order] for each in (LABELS, PREDICTED, GROUPS))
    assert group_report(*shuffled) == group_report(LABELS, PREDICTED, GROUPS)


def test_a_labelled_row_without_a_group_is_never_dropped():
    labels, groups = np.array([0, 1, 0, -1]), np.array([0, -1, 1, -1])
    with pytest.raises(ConfigError, match="groups: 1 of 3 rows with a label have none"):
        labelled_report(labels, labels, groups, ("a", "b"), ("x", "y"))
    found = labelled_report(labels, np.array([0, 0, 0, 0]), np.array([0, 0, 1, -1]), ("a", "b"), ("x", "y"))
    assert [(group.name, group.rows, group.accuracy) for group in found.groups] == [("x", 2, 0.5), ("y", 1, 1.0)]
    by_class = labelled_report(labels, np.zeros(4, int), None, ("a", "b"), ())
    assert [(group.name, group.accuracy) for group in by_class.groups] == [("a", 1.0), ("b", 0.0)]
