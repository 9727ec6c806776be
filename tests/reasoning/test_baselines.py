"""Baselines: how an answer is read from what a model says."""

import pytest
from lynx import CONTEXT, QUESTION

from fmcompress.errors import ConfigError
from fmcompress.language_model import ScriptedLanguageModel
from fmcompress.reasoning import ChainOfThought, DirectAnswering, FewShotPrompts, TrainedPrompts, self_consistency
from fmcompress.reasoning.baselines import answer_of, choice_in
from fmcompress.reasoning.build import METHODS, Options, build

PROMPTS = TrainedPrompts()
CHOICES = ("yes", "no")


def favours(wanted):
    return lambda prefix, text: -1.0 if text == f" {wanted}" else -2.0


def test_direct_answers():
    model = ScriptedLanguageModel([" the cellar.\nmore"], favours("no"))
    assert DirectAnswering(model, PROMPTS).run(CONTEXT, "Where?").answer == "the cellar"
    found = DirectAnswering(model, PROMPTS).run(CONTEXT, QUESTION, CHOICES)
    assert (found.answer, found.scores) == ("no", (("yes", -2.0), ("no", -1.0)))
    assert model.calls[-1].texts == (PROMPTS.direct(CONTEXT, QUESTION), " yes", " no")
    assert DirectAnswering(ScriptedLanguageModel([" "]), PROMPTS).run(CONTEXT, "Where?").answer == "unknown"


@pytest.mark.parametrize(
    ("chain", "choices", "answer"),
    [
        ("So it is. The answer is yes.", CHOICES, "yes"),
        ("The answer is no. But wait. The answer is: Yes", CHOICES, "yes"),
        ("The answer is that no, it does not.", CHOICES, "no"),
        ("The answer is yes or no.", CHOICES, ""),
        ("The answer is perhaps.", CHOICES, ""),
        ("It does know.", CHOICES, ""),
        ("The answer is 3.5.", (), "3.5"),
        ("The answer is the red box\nQuestion", (), "the red box"),
        ("Nothing.", (), ""),
    ],
)
def test_an_answer_is_read_from_the_end_of_a_chain(chain, choices, answer):
    assert answer_of(chain, choices) == answer


def test_a_choice_in_words_must_be_the_only_one():
    assert choice_in("It is NOT red!", ("red", "not red")) == ""
    assert choice_in("Not red.", ("red", "not red")) == "not red"
    assert choice_in("bored", ("red",)) == ""


def test_a_chain_without_an_answer_is_asked_again():
    model = ScriptedLanguageModel([" Milo is a lynx."], favours("no"))
    found = ChainOfThought(model, PROMPTS).run(CONTEXT, QUESTION, CHOICES)
    assert (found.answer, found.chains, found.votes) == ("no", (" Milo is a lynx.",), (("no", 1),))
    asked = f"{PROMPTS.chain(CONTEXT, QUESTION)} Milo is a lynx. The answer is"
    assert model.calls[-1].texts == (asked, " yes", " no")
    opened = ChainOfThought(ScriptedLanguageModel([" Hm.", " cellar."]), PROMPTS).run(CONTEXT, "Where?")
    assert opened.answer == "cellar"
    assert ChainOfThought(ScriptedLanguageModel([" Hm.", ""]), PROMPTS).run(CONTEXT, "Where?").answer == "unknown"


def test_the_majority_answers_and_of_equals_the_first():
    says = [f"The answer is {word}." for word in ("a", "b", "b", "c")]
    found = self_consistency(ScriptedLanguageModel(says), PROMPTS, samples=4, seed=3).run(CONTEXT, "Which?")
    assert (found.answer, found.votes) == ("b", (("b", 2), ("a", 1), ("c", 1)))
    model = ScriptedLanguageModel(["The answer is b.", "The answer is a."])
    assert self_consistency(model, PROMPTS, samples=2, seed=3).run(CONTEXT, "Which?").answer == "b"
    settings = model.calls[0].settings
    assert (settings.samples, settings.seed, settings.temperature) == (2, 3, 0.7)
    with pytest.raises(ConfigError, match="temperature: expected more than 0 to draw 4 chains"):
        self_consistency(model, PROMPTS, samples=4, temperature=0)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_built_and_answers(name):
    model = ScriptedLanguageModel(lambda _: " Milo hunts. The answer is yes.", favours("yes"))
    for options in (Options(steps=1, halt="fixed"), Options(steps=1, labels=True, beam=2, value=True, enough=True)):
        found = build(name, model, FewShotPrompts(), options).run(CONTEXT, QUESTION, CHOICES)
        assert found.answer == "yes"
        assert found.as_dict()["answer"] == "yes"


def test_odd_words_are_refused():
    with pytest.raises(ConfigError, match="method: expected selection-inference, direct"):
        build("guess", ScriptedLanguageModel(), PROMPTS)
    with pytest.raises(ConfigError, match="halt: expected model or fixed, got 'never'"):
        build(METHODS[0], ScriptedLanguageModel(), PROMPTS, Options(halt="never"))
