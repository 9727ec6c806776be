"""Inference and halting: what is asked, and what is made of the answer."""

import pytest
from lynx import HUNTS, QUESTION, QUIET, score

from fmcompress.errors import ConfigError
from fmcompress.language_model import ScriptedLanguageModel
from fmcompress.reasoning import Answer, FixedSteps, LanguageModelHalter, LanguageModelInferrer, TrainedPrompts
from fmcompress.reasoning.inference import one_statement

PROMPTS = TrainedPrompts()


@pytest.mark.parametrize(
    ("written", "statement"),
    [
        (" Milo is quiet.", "Milo is quiet."),
        (", milo is  quiet. And more. ", "Milo is quiet."),
        ("Dr. No is in.\nQuestion:", "Dr. No is in."),
        ("Milo is quiet", "Milo is quiet."),
        ("It costs 3.50 in all. Yes.", "It costs 3.50 in all."),
        (" . . ", ""),
        ("", ""),
    ],
)
def test_one_statement_is_taken(written, statement):
    assert one_statement(written) == statement


def test_inference_is_greedy_and_short():
    model = ScriptedLanguageModel([" Milo is quiet.\nQuestion: more"])
    assert LanguageModelInferrer(model, PROMPTS, 7).infer(["A.", "B."]) == QUIET
    settings = model.calls[0].settings
    assert (settings.max_tokens, settings.temperature, settings.samples) == (7, 0.0, 1)
    assert model.calls[0].texts == ("infer: A and B. Therefore",)


def test_choices_are_held_against_not_yet():
    model = ScriptedLanguageModel(scores=score)
    halter = LanguageModelHalter(model, PROMPTS)
    assert halter.halt(QUESTION, [QUIET], ["yes", "no"]) is None
    found = halter.halt(QUESTION, [QUIET, HUNTS], ["yes", "no"])
    assert found == Answer("yes", (("yes", -0.5), ("no", -4.0), ("not yet", -4.0)))
    assert model.calls[-1].texts == ("halt: Does Milo hunt? Milo hunts. The answer is", " yes", " no", " not yet")


def test_what_says_that_nothing_answers_is_no_choice():
    for choices in (["not yet", "yes"], ["yes", "not yet"]):
        with pytest.raises(ConfigError, match="choices: 'not yet' is what a halter says"):
            LanguageModelHalter(ScriptedLanguageModel(scores=score), PROMPTS).halt(QUESTION, [HUNTS], choices)


def test_an_open_answer_must_be_likelier_than_not_yet():
    likely = {" cellar": -1.0, " not yet": -2.0}
    halter = LanguageModelHalter(ScriptedLanguageModel(lambda _: " cellar.\n", lambda _, t: likely[t]), PROMPTS)
    assert halter.halt("Where?", ["A."], ()) == Answer("cellar", (("cellar", -1.0), ("not yet", -2.0)))
    likely[" not yet"] = -0.5
    assert halter.halt("Where?", ["A."], ()) is None
    for said in (" not yet", " Not yet.", ""):
        assert LanguageModelHalter(ScriptedLanguageModel(lambda _, s=said: s), PROMPTS).halt("Q?", ["A."], ()) is None


def test_a_fixed_number_of_steps():
    assert FixedSteps(2).halt("Q?", ["A."], ()) is None
    assert FixedSteps(2).halt("Q?", ["A.", "B."], ()) == Answer("B.")
    model = ScriptedLanguageModel(scores=lambda prefix, text: {" yes": -2.0, " no": -1.0}[text])
    found = FixedSteps(1, model, PROMPTS).halt("Q?", ["A."], ["yes", "no"])
    assert found == Answer("no", (("yes", -2.0), ("no", -1.0)))  # which is not held against "not yet"
    with pytest.raises(ConfigError, match="needs a model and its prompts"):
        FixedSteps(1).halt("Q?", ["A."], ["yes", "no"])
    with pytest.raises(ConfigError, match="steps: expected at least 1"):
        FixedSteps(0)
