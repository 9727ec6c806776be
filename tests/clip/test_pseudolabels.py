"""Which images stand for which class: lists, schedules, splits."""

import numpy as np
import pytest

from fmcompress.clip.pseudolabels import grip_schedule, harmonic_mean, seen_unseen_split, select_topk
from fmcompress.errors import ConfigError

# The authors' published seen classes, as places in their files of classes: of ten classes whole (MNIST's, and EuroSAT's,
# which are the same places), of DTD, FGVC Aircraft and Flowers the first four and the last three.
TEN = {500: [4, 2, 9, 3, 0, 5], 0: [2, 8, 4, 9, 1, 6], 200: [8, 3, 5, 6, 1, 7]}
LONG = {
    (47, 500): [20, 28, 40, 4, 10, 24, 15], (47, 0): [28, 33, 30, 4, 17, 34, 14], (47, 200): [28, 29, 30, 36, 38, 33, 40],
    (100, 500): [97, 94, 48, 7, 43, 16, 37], (100, 0): [26, 86, 2, 55, 52, 10, 31], (100, 200): [34, 2, 72, 37, 52, 62, 21],
    (102, 500): [89, 50, 63, 26, 54, 33, 43], (102, 0): [26, 92, 2, 55, 10, 31, 97], (102, 200): [48, 2, 81, 38, 52, 63, 21],
}  # fmt: skip


def probabilities(images=60, classes=5, seed=0):
    logits = np.random.default_rng(seed).normal(size=(images, classes))
    shares = np.exp(logits)
    return shares / shares.sum(axis=1, keepdims=True)


def pairs(found):
    return set(zip(found.images.tolist(), found.classes.tolist(), strict=True))


def test_each_class_gets_as_many_images_as_there_are_or_were_asked_for():
    shares = probabilities()
    for k in (1, 7, 60, 100):
        found = select_topk(shares, k)
        assert np.bincount(found.classes).tolist() == [min(k, 60)] * 5
        assert (found.probabilities == shares[found.images, found.classes]).all()


def test_a_list_is_sorted_and_holds_the_next_shorter_one():
    shares = probabilities()
    for k in range(1, 60):
        assert pairs(select_topk(shares, k)) < pairs(select_topk(shares, k + 1))
    first = select_topk(shares, 9)
    assert all((np.diff(first.probabilities[first.classes == c]) <= 0).all() for c in range(5))


@pytest.mark.parametrize("mode", ["column_topk", "exclusive_greedy"])
def test_another_order_of_images_picks_the_same_images(mode):
    shares = probabilities(400)
    order = np.random.default_rng(1).permutation(400)
    plain, moved = select_topk(shares, 40, mode), select_topk(shares[order], 40, mode)
    assert (order[moved.images] == plain.images).all()
    assert (moved.classes == plain.classes).all()


def test_the_released_leaderboard_depends_on_the_order_of_images():
    shares = probabilities(400)
    order = np.random.default_rng(1).permutation(400)
    plain, moved = select_topk(shares, 40, "released"), select_topk(shares[order], 40, "released")
    back = set(zip(order[moved.images].tolist(), moved.classes.tolist(), strict=True))
    assert len(plain) == len(moved) == 200
    assert len(pairs(plain) - back) == 6


def test_the_released_leaderboard_may_label_one_image_twice():
    shares = np.array([[0.9, 0.05, 0.05], [0.1, 0.5, 0.4], [0.6, 0.2, 0.2]])
    found = select_topk(shares, 1, "released")
    assert pairs(found) == {(0, 0), (1, 1), (2, 2)}
    again = np.array([[0.9, 0.05, 0.05], [0.5, 0.3, 0.2]])
    assert pairs(select_topk(again, 1, "released")) == {(0, 0), (1, 1), (1, 2)}


def test_images_that_are_told_apart_perfectly_are_partitioned_as_they_are():
    truth = np.random.default_rng(2).permutation(np.repeat(np.arange(4), 25))
    shares = np.where(np.arange(4) == truth[:, None], 0.7, 0.1)
    for mode in ("column_topk", "exclusive_greedy", "released"):
        found = select_topk(shares, 25, mode)
        assert pairs(found) == {(image, number) for image, number in enumerate(truth.tolist())}, mode


def test_greedy_uses_no_image_twice_and_takes_the_likeliest_pairs_first():
    shares = np.array([[0.6, 0.4], [0.55, 0.45], [0.5, 0.5]])
    assert pairs(select_topk(shares, 1, "exclusive_greedy")) == {(0, 0), (2, 1)}
    found = select_topk(probabilities(), 20, "exclusive_greedy")
    assert len(set(found.images.tolist())) == len(found) == 60


def test_of_equal_probabilities_the_first_images_are_taken():
    first = np.random.default_rng(3).choice([0.2, 0.5, 0.8], 500)
    found = select_topk(np.stack([first, 1 - first], axis=1), 400)
    for number, values in enumerate((first, 1 - first)):
        expected = np.lexsort((np.arange(500), -values))[:400]
        assert (found.images[found.classes == number] == expected).all()
    greedy = select_topk(np.full((500, 2), 0.5), 40, "exclusive_greedy")
    assert greedy.images.tolist() == list(range(80))


@pytest.mark.parametrize(
    ("shares", "k", "mode", "told"),
    [
        (np.ones(3), 1, "column_topk", "expected finite numbers"),
        (np.full((2, 2), np.nan), 1, "column_topk", "expected finite numbers"),
        (np.ones((0, 2)), 1, "column_topk", "expected finite numbers"),
        (np.ones((2, 2)), 0, "column_topk", "at least 1 image"),
        (np.ones((2, 2)), 1, "best", "expected one of column_topk"),
    ],
)
def test_what_cannot_be_selected_from_is_an_error(shares, k, mode, told):
    with pytest.raises(ConfigError, match=told):
        select_topk(shares, k, mode)


def test_grip_takes_as_many_more_in_each_iteration():
    assert grip_schedule(1000, 10, 10) == tuple(range(10, 101, 10))
    assert grip_schedule(18900, 45, 10) == tuple(range(42, 421, 42))
    assert grip_schedule(1836, 102, 10) == (1, 3, 5, 7, 8, 10, 12, 14, 16, 17)


@pytest.mark.parametrize("images", [10, 37, 999, 1836])
@pytest.mark.parametrize("classes", [2, 7, 10])
def test_a_schedule_never_falls_and_never_asks_for_more_than_there_is(images, classes):
    ks = grip_schedule(images, classes)
    assert len(ks) == 10
    assert list(ks) == sorted(ks)
    assert ks[0] == max(1, images // 10 // classes)
    assert ks[-1] * classes <= images


def test_too_few_images_for_a_schedule_are_an_error():
    for images, classes, iterations in ((9, 2, 10), (9, 10, 2), (5, 0, 1)):
        with pytest.raises(ConfigError, match="expected at least one image"):
            grip_schedule(images, classes, iterations)


@pytest.mark.parametrize("seed", TEN)
def test_the_published_splits_come_of_their_seeds(seed):
    seen, unseen = seen_unseen_split([str(digit) for digit in range(10)], seed)
    assert list(seen) == TEN[seed]
    assert sorted(seen + unseen) == list(range(10))


@pytest.mark.parametrize(("classes", "seed"), LONG)
def test_so_do_those_of_more_classes(classes, seed):
    seen, unseen = seen_unseen_split(classes, seed)
    assert [*seen[:4], *seen[-3:]] == LONG[classes, seed]
    assert not set(seen) & set(unseen)
    assert list(unseen) == sorted(unseen)


@pytest.mark.parametrize(("classes", "seen"), [(10, 6), (45, 27), (47, 29), (100, 62), (102, 63)])
def test_splits_are_as_large_as_the_published_ones(classes, seen):
    for seed in (500, 0, 200):
        assert [len(part) for part in seen_unseen_split(classes, seed)] == [seen, classes - seen]


def test_a_split_leaves_the_global_generator_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    seen_unseen_split(10, 0)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
    with pytest.raises(ConfigError, match="at least 2"):
        seen_unseen_split(["only"], 0)


def test_the_harmonic_mean_is_near_the_lower_one():
    assert harmonic_mean(0.5, 1.0) == pytest.approx(2 / 3)
    assert harmonic_mean(0.0, 0.9) == harmonic_mean(0.9, 0.0) == 0.0
    for a, b in np.random.default_rng(0).uniform(size=(50, 2)).tolist():
        mean = harmonic_mean(a, b)
        assert mean == pytest.approx(2 / (1 / a + 1 / b))
        assert mean <= (a + b) / 2 + 1e-15
        assert mean <= 2 * min(a, b)
