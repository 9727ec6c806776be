"""Verdicts on tasks over similarities: made by hand, against brute force, and what they say of themselves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_covers import least_error

from fmcompress.errors import ConfigError
from fmcompress.theory.calibration import calibrated, resolution_of, thresholds
from fmcompress.theory.diagnosis import diagnose
from fmcompress.theory.prompt_measures import functoriality, measure_prompts
from fmcompress.theory.score_files import Scores
from fmcompress.theory.tasks import labels_of

NAMES = ("a", "b", "c", "d", "e")


def one(values, labels, **options):
    values = np.array(values, float)
    scores = Scores(values, NAMES[: len(values)], tuple(f"p{at}" for at in range(values.shape[1])))
    return diagnose(scores, labels_of(labels), **options).tasks[0]


ONE = [[0.3, 0.9], [0.2, 0.8], [0.9, 0.7], [0.1, 0.2]]
TWO = [[0.9, 0.1], [0.1, 0.9], [0.2, 0.3], [0.3, 0.2]]
XOR = [[0.1, 0.1], [0.9, 0.9], [0.1, 0.9], [0.9, 0.1]]
MIDDLE = [[0.5, 0.5], [0.4, 0.6], [0.1, 0.9], [0.9, 0.1]]  # between the others: a plane parts none, nor do prompts
BELOW = [[0.1, 0.2], [0.2, 0.1], [0.8, 0.3], [0.3, 0.8]]  # a plane says yes where scores are low, prompts cannot
TWINS = [[0.9, 0.8], [0.9, 0.8], [0.1, 0.2], [0.2, 0.1]]


@pytest.mark.parametrize("calibration", ["prompt", "none"])
@pytest.mark.parametrize(
    ("values", "labels", "verdict", "prompts", "separable"),
    [
        (TWO, [1, 1, 0, 0], "k prompts", (0, 1), True),
        (XOR, [1, 1, 0, 0], "fine-tuning", (), False),
        (MIDDLE, [1, 1, 0, 0], "fine-tuning", (), False),
        (BELOW, [1, 1, 0, 0], "fine-tuning", (), True),
        (TWINS, [1, 0, 0, 0], "nothing", (), False),
        (TWINS, [1, 1, 0, 0], "one prompt", (0,), True),
    ],
)
def test_the_four_verdicts(values, labels, verdict, prompts, separable, calibration):
    task = one(values, labels, calibration=calibration)
    assert (task.verdict, task.prompts, task.separation.separable) == (verdict, prompts, separable)
    assert task.fewest


def test_a_threshold_of_its_own_is_what_a_prompt_may_need():
    assert one(ONE, [1, 1, 0, 0]).verdict == "one prompt"
    assert one(ONE, [1, 1, 0, 0]).prompts == (1,)
    assert one(ONE, [1, 1, 0, 0], calibration="none").verdict == "fine-tuning"  # 0.7 is above one half


def test_reasons_are_true_sentences():
    assert one(ONE, [1, 1, 0, 0]).reason == "'p1' is right on all 4 objects (off by 0.455 at most, 0.5 allowed)"
    assert one(TWO, [1, 1, 0, 0]).reason.startswith("2 prompts joined by OR are right on all 4 objects: 'p0', 'p1'; ")
    fine = one(XOR, [1, 1, 0, 0]).reason
    assert fine.startswith("no 2 prompts or fewer are right on all 4 objects")
    assert "no plane in the space of scores is" in fine
    assert one(TWO, [1, 1, 0, 0], prompts=1).reason.startswith("no 1 prompt or fewer are right")
    assert "a plane in the space of scores is" in one(BELOW, [1, 1, 0, 0]).reason
    nothing = one(TWINS, [1, 0, 0, 0]).reason
    assert nothing.startswith(
        "'a' and 'b' have identical scores (within 9e-07) and different labels: at least 1 object of 4"
    )


def test_identical_within_the_resolution():
    near = [[0.9, 0.8], [0.9 - 1e-4, 0.8], [0.1, 0.2], [0.2, 0.1]]
    assert one(near, [1, 0, 0, 0]).verdict == "one prompt"
    found = one(near, [1, 0, 0, 0], resolution=1e-3)
    assert found.verdict == "nothing"
    assert (found.collapse.pairs, found.collapse.bitwise, found.collapse.tolerance) == (1, 0, 1e-3)


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 7), st.integers(1, 5), st.integers(0, 10_000))
def test_the_verdict_is_that_of_brute_force(objects, prompts, seed):
    generator = np.random.default_rng(seed)
    values = generator.integers(0, 5, (objects, prompts)) / 4
    positive = generator.random(objects) < 0.5
    positive[:2] = True, False
    for calibration, tolerance in (("none", 0.3), ("none", 0.0), ("prompt", 0.5), ("range", 0.5)):
        task = one_of(values, positive, calibration, tolerance)
        unit = calibrated(values, positive, calibration, resolution_of(values))
        errors = [least_error(unit, positive, size) for size in range(1, prompts + 1)]
        assert task.error == pytest.approx(errors[0])
        assert [step.exact.error for step in task.curve] == pytest.approx(errors)
        twins = any((a == b).all() for a in values[positive] for b in values[~positive])
        right = [size for size, error in enumerate(errors, 1) if error < 0.5 - 1e-9 and error <= tolerance + 1e-9]
        expected = (
            "nothing" if twins else "fine-tuning" if not right else "one prompt" if right[0] == 1 else "k prompts"
        )
        assert task.verdict == expected
        if expected == "k prompts":
            assert len(task.prompts) == right[0]
            assert least_error(unit[:, list(task.prompts)], positive, right[0]) <= tolerance


def one_of(values, positive, calibration, tolerance):
    scores = Scores(values)
    return diagnose(scores, labels_of(positive.tolist()), calibration=calibration, tolerance=tolerance).tasks[0]


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 9), st.integers(0, 10_000))
def test_measures_of_a_prompt_are_those_of_loops(objects, seed):
    generator = np.random.default_rng(seed)
    values = generator.integers(0, 6, (objects, 3)).astype(float)
    positive = generator.random(objects) < 0.5
    positive[:2] = True, False
    found = measure_prompts(values, positive)
    for at in range(3):
        yes, no = values[positive, at], values[~positive, at]
        pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in yes for b in no]
        assert found.auc[at] == pytest.approx(np.mean(pairs))
        assert found.margin[at] == yes.min() - no.max()
        shares = [((values[:, at] > cut) == positive).mean() for cut in np.arange(-0.5, 6)]
        assert found.accuracy[at] == pytest.approx(max(shares))
        assert ((values[:, at] > found.threshold[at]) == positive).mean() == pytest.approx(max(shares))


def test_each_prompt_is_calibrated_by_its_own_gap():
    values = np.array([[0.2, 5.0], [0.8, 7.0], [0.4, 6.0], [0.0, 1.0]])
    positive = np.array([False, True, True, False])
    found = calibrated(values, positive, "prompt", 1e-6)
    assert thresholds(values, positive, 1e-6) == pytest.approx([0.3, 5.5])
    assert found[:, 0] == pytest.approx([1 / 3, 1, 0.6, 0])
    assert (found.min(), found.max()) == (0, 1)
    order = np.argsort(values, axis=0)
    assert (np.diff(np.take_along_axis(found, order, 0), axis=0) > 0).all()
    near = np.array([[0.5], [0.5 + 1e-7], [0.9]])  # of which two are the same number
    assert thresholds(near, np.array([False, True, True]), 1e-6) == pytest.approx([0.7])
    assert thresholds(near, np.array([False, True, True]), 0.0) == pytest.approx([0.5])
    none = calibrated(values, ~positive, "prompt", 1e-6)
    assert none.max() <= 0.5
    assert np.isinf(thresholds(values, ~positive, 1e-6)).all()


def test_the_residual_is_how_alike_what_is_not_is_to_what_is():
    alike = np.array([[1, 0.2, 0.3], [0.6, 1, 0.1], [0.7, 0.4, 1]])
    positive = np.array([True, False, False])
    assert functoriality(alike, positive) == (0.7, 2, 0)
    scores = Scores(alike, ("x", "y", "z"), ("x", "y", "z"))
    turned = Scores(alike[:, ::-1], ("x", "y", "z"), ("z", "y", "x"))
    for each in (scores, turned):
        assert diagnose(each, labels_of([1, 0, 0])).tasks[0].residual == (0.7, 2, 0)
    assert diagnose(scores, labels_of([1, -1, 0])).tasks[0].residual == (0.7, 1, 0)  # a place among labelled objects
    assert diagnose(scores, labels_of([1, 0, 0]), square=False).tasks[0].residual is None
    assert diagnose(Scores(alike), labels_of([1, 0, 0])).tasks[0].residual is None
    assert diagnose(Scores(alike), labels_of([1, 0, 0]), square=True).tasks[0].residual == (0.7, 2, 0)


def test_objects_without_label_count_for_nothing_and_classes_are_a_task_each():
    values = [[0.9, 0.1], [0.8, 0.1], [0.1, 0.9], [0.5, 0.5], [0.1, 0.7]]
    found = diagnose(Scores(np.array(values)), labels_of(["x", "x", "y", "", "y"]))
    assert [(task.name, task.positives, task.negatives, task.prompts) for task in found.tasks] == [
        ("x", 2, 2, (0,)), ("y", 2, 2, (1,)),
    ]  # fmt: skip
    assert (found.verdict, found.labels.unknown, found.rows.tolist()) == ("one prompt", 1, [0, 1, 2, 4])
    assert found.tasks[0].by_chance == pytest.approx(2 / 6)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"prompts": 0}, "prompts: expected at least 1, got 0"),
        ({"tolerance": 0.6}, "tolerance: expected a number from 0 to 0.5, got 0.6"),
        ({"tolerance": float("nan")}, "tolerance: expected a number"),
        ({"resolution": -1.0}, "resolution: expected a number from 0, got -1.0"),
        ({"resolution": float("nan")}, "resolution: expected a number from 0, got nan"),
        ({"calibration": "platt"}, "calibration: expected one of prompt, range, none, got 'platt'"),
        ({"square": True}, "scores: expected a square matrix, objects by objects, got 4 by 2"),
    ],
)
def test_options_that_cannot_be_meant_are_told(options, told):
    with pytest.raises(ConfigError) as caught:
        one(ONE, [1, 1, 0, 0], **options)
    assert told in str(caught.value)


def test_scores_outside_0_and_1_need_a_calibration():
    with pytest.raises(ConfigError, match=r"with none expected scores in \[0, 1\], got -3 to 2. Take prompt or range"):
        one([[2.0], [-3.0]], [1, 0], calibration="none")
    with pytest.raises(ConfigError, match="labels: expected 2, one an object, got 3"):
        diagnose(Scores(np.eye(2)), labels_of([0, 1, 1]))
