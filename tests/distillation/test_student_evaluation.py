"""Which checkpoint is kept, what a student is asked, and what of its answers is counted."""

from dataclasses import replace

import pytest
import torch
from student_cases import SUMS, objective

from fmcompress.distillation.evaluation import answers_of, report_of
from fmcompress.distillation.examples import Example
from fmcompress.distillation.methods import StudentPrompts
from fmcompress.distillation.tasks import task
from fmcompress.errors import CalibrationError
from fmcompress.language_model import ScriptedLanguageModel
from fmcompress.training.selecting import Selecting
from fmcompress.training.trainer import Trainer

ASKED = [
    Example("1 + 1", "2", split="valid"),
    Example("1 + 2", "3", split="test"),
    Example("2 + 2", "4", split="test"),
    Example("9 + 9"),
]


def selecting(measured):
    values = iter(measured)
    return Selecting(Trainer(objective(batch_size=4), 6), lambda: next(values), every=2)


def weights(what):
    return {name: value.clone() for name, value in what.trainer.state()["model"].items()}


@pytest.mark.parametrize(("measured", "step"), [((0.2, 0.7, 0.5), 4), ((0.7, 0.2, 0.7), 6), ((0.0, 0.0, 0.0), 6)])
def test_the_best_checkpoint_is_kept_and_of_equals_the_later(measured, step):
    what, seen = selecting(measured), {}
    for _ in range(6):
        record = what.one()
        seen[record["step"]] = weights(what)
        assert ("valid" in record) == (record["step"] % 2 == 0)
    what.choose_()
    assert (what.chosen, what.value) == (step, max(measured))
    assert all(torch.equal(value, seen[step][name]) for name, value in weights(what).items())


def test_a_choice_that_goes_on_remembers_the_best():
    first = selecting((0.9,))
    for _ in range(3):
        first.one()
    state = {part: {name: one.clone() for name, one in tensors.items()} for part, tensors in first.state().items()}
    second = selecting((0.1, 0.2))
    second.load(3, state)
    for _ in range(3):
        second.one()
    second.choose_()
    assert (second.chosen, second.value) == (2, 0.9)
    assert all(torch.equal(value, state["best"][name]) for name, value in weights(second).items())
    assert "best" not in selecting(()).state()


def test_a_student_is_asked_with_its_prefixes_and_its_answers_are_counted():
    said = {"1 + 1": " 2.0", "1 + 2": "5", "2 + 2": "four", "9 + 9": "18"}
    model = ScriptedLanguageModel({f"L {x}:": y for x, y in said.items()} | {f"R {x}:": f" why {x} " for x in said})
    answers = list(answers_of(model, ASKED, task("number"), StudentPrompts("L ", "R ", ":"), rationales=True))
    assert [one.right for one in answers] == [True, False, False, None]
    assert [one.unparsed for one in answers] == [None, None, "no value", None]
    assert [one.rationale for one in answers] == [f"why {x}" for x in said]
    report = report_of(answers)
    assert (report["examples"], report["right"], report["unparsed"], report["without_label"]) == (3, 1, 1, 1)
    assert report["splits"]["test"] == {"examples": 2, "right": 0, "accuracy": 0.0, "unparsed": 1}
    with pytest.raises(CalibrationError, match="none has a label"):
        report_of(answers[3:])


def test_a_single_text_is_taken_apart_and_one_without_an_answer_is_unparsed():
    prompts = StudentPrompts(single=True)
    model = ScriptedLanguageModel({"predict: 1 + 1": "one more. So the answer is 2", "predict: 1 + 2": "2"})
    answers = list(answers_of(model, ASKED[:2], task("number"), prompts))
    assert [(one.label, one.right, one.unparsed) for one in answers] == [("2", True, None), (None, False, "no answer")]
    assert answers[0].as_dict()["completion"] == "one more. So the answer is 2"


def test_the_order_of_examples_changes_no_answer():
    model = ScriptedLanguageModel(lambda prompt: prompt[-1])
    some = [replace(one, rationale=None) for one in SUMS]
    there = {one.example.input: one.label for one in answers_of(model, some, task("text"), StudentPrompts())}
    back = {one.example.input: one.label for one in answers_of(model, some[::-1], task("text"), StudentPrompts())}
    assert there == back
