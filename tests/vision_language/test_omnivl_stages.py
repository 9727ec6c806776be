import numpy as np
import pytest

from fmcompress.errors import CalibrationError, ConfigError
from fmcompress.training.order import draw
from fmcompress.training.schedule import Schedule
from fmcompress.vision_language.omnivl.stages import Stage, require_items, turn


def turns(*stages):
    return [turn(stages, step) for step in range(sum(stage.steps for stage in stages))]


def test_images_come_first_then_both_by_turns():
    found = turns(Stage("image", 3), Stage("joint", 6))
    assert [one.video for one in found] == [False] * 3 + [False, True] * 3
    assert [one.place for one in found] == [0, 1, 2, 0, 1, 2, 3, 4, 5]
    assert [one.stage.kind for one in found] == ["image"] * 3 + ["joint"] * 6
    with pytest.raises(IndexError):
        turn([Stage("image", 3)], 3)


@pytest.mark.parametrize("share", [0.25, 1 / 3, 0.5, 0.8, 1.0])
def test_share_of_videos_is_kept_and_batches_of_a_kind_are_counted(share):
    found = turns(Stage("joint", 12, share), Stage("image", 2), Stage("joint", 24, share))
    for kind in (False, True):
        assert [one.number for one in found if one.video == kind] == list(
            range(sum(one.video == kind for one in found))
        )
    assert sum(one.video for one in found[:12]) == int(12 * share)
    for begin in range(14, 32):  # evenly spread
        assert abs(sum(one.video for one in found[begin : begin + 6]) - 6 * share) <= 1


def test_each_item_comes_once_before_any_comes_again():
    pool = np.array([3, 5, 6, 9, 12, 20, 21])
    drawn = np.concatenate([draw(pool, 3, number, (0, 1)) for number in range(14)])
    rounds = drawn.reshape(6, 7)
    assert all(sorted(one) == pool.tolist() for one in rounds)
    assert len({tuple(one) for one in rounds}) > 1


def test_batches_depend_on_seed_and_number_alone():
    pool = np.arange(40)
    late = draw(pool, 8, 30, (7, 0))
    for number in range(30):
        draw(pool, 8, number, (7, 0))
    assert np.array_equal(late, draw(pool, 8, 30, (7, 0)))
    assert not np.array_equal(late, draw(pool, 8, 30, (8, 0)))
    assert not np.array_equal(late, draw(pool, 8, 30, (7, 1)))


def test_small_pools_are_batches_of_their_own():
    assert sorted(draw(np.array([4, 7]), 64, 5, (0,)).tolist()) == [4, 7]


@pytest.mark.parametrize(
    ("stages", "videos", "told"),
    [
        ([Stage("joint", 4)], [False, False], "no videos among the pairs"),
        ([Stage("image", 4)], [True], "image stage: there are no images"),
        ([Stage("joint", 4)], [True], "joint stage: there are no images"),
    ],
)
def test_stages_without_what_they_need_are_refused(stages, videos, told):
    with pytest.raises(CalibrationError, match=told):
        require_items(stages, np.array(videos))


def test_stages_that_fit_are_not():
    require_items([Stage("image", 4), Stage("joint", 4)], np.array([True, False]))
    require_items([Stage("joint", 4, 1.0)], np.array([True]))
    with pytest.raises(ConfigError, match="nothing is learned"):
        require_items([], np.array([True]))


@pytest.mark.parametrize("given", [("image", 0), ("joint", -1), ("video", 3), ("joint", 3, 0.0), ("joint", 3, 1.5)])
def test_stages_that_are_none_are_refused(given):
    with pytest.raises(ConfigError, match="expected"):
        Stage(*given)


def test_rate_rises_and_falls_in_each_stage():
    rates = [Schedule(learning_rate=2.0).rate(place, 100) for place in range(100)]
    assert rates[0] == 0.2
    assert max(rates) == rates[9] == 2.0
    assert rates == sorted(rates[:10]) + sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(0.02, rel=0.05)
    assert Schedule(learning_rate=2.0).rate(0, 1) == 2.0


@pytest.mark.parametrize("given", [{"batch_size": 0}, {"learning_rate": 0.0}, {"learning_rate": float("nan")}])
def test_schedules_that_are_none_are_refused(given):
    with pytest.raises(ConfigError, match="1 at least and a finite number above 0"):
        Schedule(**given)
