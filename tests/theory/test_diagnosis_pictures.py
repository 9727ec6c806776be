"""Pictures of diagnoses: what is drawn, the same bytes each time."""

import numpy as np
import pytest

from fmcompress.errors import ConfigError
from fmcompress.theory.diagnosis import diagnose
from fmcompress.theory.diagnosis_pictures import MOST_TASKS, plot_diagnosis
from fmcompress.theory.score_files import Scores
from fmcompress.theory.tasks import labels_of

matplotlib = pytest.importorskip("matplotlib")


def diagnosed(classes=3, objects=24, prompts=6):
    generator = np.random.default_rng(0)
    names = tuple(f"prompt $x_{at}$" for at in range(prompts))
    labels = [f"kind {at % classes}" for at in range(objects)]
    return diagnose(Scores(generator.random((objects, prompts)), (), names), labels_of(labels))


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_equal_diagnoses_give_equal_bytes(tmp_path, suffix):
    for name in ("a", "b"):
        plot_diagnosis(diagnosed(), tmp_path / f"{name}.{suffix}")
    assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"a.{suffix}", f"b.{suffix}"]


def texts_of(found, path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(matplotlib.rcParams, "svg.fonttype", "none")
        plot_diagnosis(found, path)
    return path.read_text()


def test_each_task_has_its_verdict_its_best_prompt_and_its_counts(tmp_path):
    found = diagnosed()
    drawn = texts_of(found, tmp_path / "a.svg")
    for task in found.tasks:
        assert f"{task.name}: {task.verdict}" in drawn
        assert f"best prompt '{found.scores.prompts[task.best]}'" in drawn.replace("&#x27;", "'")
        assert f"of it ({task.positives})" in drawn
        assert f"others ({task.negatives})" in drawn
        for step in task.curve:
            assert step.greedy is None or f">{step.greedy.wrong}</text>" in drawn


def test_of_many_tasks_the_hardest_are_drawn_in_their_order(tmp_path):
    values = np.eye(9)
    values[8] = values[7]  # the last two kinds look alike
    found = diagnose(Scores(values), labels_of([f"kind {at}" for at in range(9)]))
    drawn = texts_of(found, tmp_path / "a.svg")
    assert f"the hardest {MOST_TASKS} of 9" in drawn
    shown = [at for at in range(9) if f"kind {at}: " in drawn]
    assert shown == [0, 1, 2, 3, 7, 8]
    places = [drawn.index(f"kind {at}: ") for at in shown]
    assert places == sorted(places)


def test_other_names_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"ends in .png, .svg or .pdf"):
        plot_diagnosis(diagnosed(), tmp_path / "a.gif")
