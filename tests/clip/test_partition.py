"""Which images are trained on with a label, without, or measured on."""

import numpy as np
import pytest

from fmcompress.clip.prompt_inputs import partition
from fmcompress.errors import ConfigError

LABELS = np.arange(40) % 4
SPLITS = ("train",) * 24 + ("val",) * 4 + ("test",) * 12


def test_without_a_split_everything_is_trained_on_and_nothing_measured():
    parts = partition(None, (), 40, 4, "ul")
    assert (len(parts.unlabelled), len(parts.labelled), len(parts.test)) == (40, 0, 0)
    assert parts.seen is None


def test_without_labels_rows_of_training_are_all_unlabelled():
    parts = partition(LABELS, SPLITS, 40, 4, "ul")
    assert parts.unlabelled.tolist() == list(range(24))
    assert parts.test.tolist() == list(range(28, 40))


def test_shots_are_drawn_by_the_seed_and_the_rest_has_no_label():
    parts = partition(LABELS, SPLITS, 40, 4, "ssl", shots=2)
    assert np.bincount(LABELS[parts.labelled]).tolist() == [2, 2, 2, 2]
    assert sorted([*parts.labelled, *parts.unlabelled]) == list(range(24))
    assert (parts.labelled == partition(LABELS, SPLITS, 40, 4, "ssl", shots=2).labelled).all()
    assert (parts.labelled != partition(LABELS, SPLITS, 40, 4, "ssl", shots=2, seed=1).labelled).any()


def test_labels_that_are_there_are_used_where_no_shots_are_asked_for():
    some = np.where(np.arange(40) < 10, LABELS, -1)
    parts = partition(some, (), 40, 4, "ssl")
    assert parts.labelled.tolist() == list(range(10))
    assert parts.unlabelled.tolist() == list(range(10, 40))


def test_a_split_seed_hides_the_labels_of_the_published_classes():
    labels = np.arange(60) % 10
    parts = partition(labels, (), 60, 10, "trzsl", split_seed=500)
    assert parts.seen == (0, 2, 3, 4, 5, 9)
    assert set(labels[parts.labelled]) == set(parts.seen)
    assert set(labels[parts.unlabelled]) == {1, 6, 7, 8}
    assert len(parts.labelled) + len(parts.unlabelled) == 60


def test_classes_without_any_label_are_unseen():
    some = np.where(LABELS < 2, LABELS, -1)
    parts = partition(some, (), 40, 4, "trzsl")
    assert parts.seen == (0, 1)
    assert parts.labelled.tolist() == np.flatnonzero(LABELS < 2).tolist()


def test_a_test_row_without_a_label_is_not_measured_on():
    some = np.where(np.arange(40) == 30, -1, LABELS)
    assert 30 not in partition(some, SPLITS, 40, 4, "ul").test


@pytest.mark.parametrize(
    ("labels", "splits", "paradigm", "options", "told"),
    [
        (LABELS, ("test",) * 40, "ul", {}, "none is to train on"),
        (None, (), "ssl", {}, "no image to train on has one"),
        (None, (), "trzsl", {}, "no image to train on has one"),
        (LABELS, (), "ssl", {}, "Say with shots"),
        (LABELS, (), "ssl", {"shots": 11}, "expected 11 labels of each class, got 10 of class 0"),
        (LABELS, (), "ssl", {"shots": 0}, "at least 1"),
        (LABELS, (), "trzsl", {}, "Hide some classes"),
    ],
)
def test_what_a_paradigm_lacks_is_told(labels, splits, paradigm, options, told):
    with pytest.raises(ConfigError, match=told):
        partition(labels, splits, 40, 4, paradigm, **options)


def test_what_is_not_known_is_refused_rather_than_left_out():
    labels = np.array([0, 0, 1, 1, -1, 2])
    with pytest.raises(ConfigError, match="labels: 1 of 6 images to train on have none"):
        partition(labels, (), 6, 3, "trzsl", split_seed=0)
    with pytest.raises(ConfigError, match="shots: goes with ssl, got ul"):
        partition(labels, (), 6, 3, "ul", shots=2)
