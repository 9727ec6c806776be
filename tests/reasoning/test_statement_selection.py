"""Selection: copies of statements, chosen one after the other by what a model finds likeliest."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lynx import CONTEXT, QUESTION, chance, score

from fmcompress.errors import ConfigError, LanguageModelError
from fmcompress.language_model import ScriptedLanguageModel
from fmcompress.reasoning import LabelSelector, ScoringSelector, Selected, TrainedPrompts

PROMPTS = TrainedPrompts()


def scripted(table, default=-9.0):
    """Scores by how a prompt ends and what follows."""

    def found(prefix, text):
        return next((value for (end, what), value in table.items() if prefix.endswith(end) and text == what), default)

    return ScriptedLanguageModel(scores=found)


def test_the_likeliest_is_appended_and_the_others_are_scored_again():
    model = scripted(
        {("We know that", " B"): -1, ("We know that", " A"): -2, ("B and", " C"): -0.5, ("B and", " A"): -3}
    )
    selected = ScoringSelector(model, PROMPTS, 2).select(["A.", "B.", "C."], "Q?")
    assert selected == Selected((1, 2), -1.5)
    first, second = (call.texts for call in model.calls)
    assert first == ("select: A. B. C. Q? We know that", " A", " B", " C")
    assert second == ("select: A. B. C. Q? We know that B and", " A", " C")


def test_enough_competes_once_the_least_are_chosen():
    table = {("that", " A"): -1, ("A and", " nothing more"): -0.5, ("A and", " B"): -2, ("that", " nothing more"): 0}
    model = scripted(table)
    assert ScoringSelector(model, PROMPTS, 3).select(["A.", "B."], "Q?").numbers == (0, 1)
    assert ScoringSelector(model, PROMPTS, 3, enough=True, least=1).select(["A.", "B."], "Q?") == Selected((0,), -1.5)


def test_the_mean_favours_no_short_statement():
    model = scripted({("that", " A"): -3, ("that", " long as it is"): -4})
    statements = ["A.", "long as it is."]
    assert ScoringSelector(model, PROMPTS, 1).select(statements, "Q?") == Selected((0,), -3)
    assert ScoringSelector(model, PROMPTS, 1, normalise="mean").select(statements, "Q?") == Selected((1,), -1)


def test_labels_are_scored_and_statements_selected():
    model = scripted({("that", " sen 2 and"): -1, ("sen 2 and", " sen 1 and"): -1})
    assert LabelSelector(model, PROMPTS, 2).select(["A.", "B.", "C."], "Q?").numbers == (1, 0)
    assert model.calls[0].texts[:2] == ("select: sen 1: A. sen 2: B. sen 3: C. Q? We know that", " sen 1 and")
    assert model.calls[1].texts == (
        "select: sen 1: A. sen 2: B. sen 3: C. Q? We know that sen 2 and",
        " sen 1 and",
        " sen 3 and",
    )


def test_a_label_is_not_likelier_than_those_that_it_begins():
    """As a tokenizer of single digits has it: a longer text is never likelier than its beginning."""

    def digits(prefix, text):
        wanted = " sen 12 and"
        return sum(-0.1 if wanted[at : at + 1] == letter else -5.0 for at, letter in enumerate(text))

    statements = [f"Statement {letter}." for letter in "abcdefghijklm"]
    assert LabelSelector(ScriptedLanguageModel(scores=digits), PROMPTS, 1).select(statements, "Q?").numbers == (11,)


def test_a_beam_finds_the_pair_that_greed_misses():
    model = scripted({("that", " A"): -1, ("that", " B"): -1.5, ("A and", " C"): -5, ("B and", " C"): -0.5})
    statements = ["A.", "B.", "C."]
    assert ScoringSelector(model, PROMPTS, 2).select(statements, "Q?") == Selected((0, 2), -6)
    found = ScoringSelector(model, PROMPTS, 2).candidates(statements, "Q?", 2)
    assert found == [Selected((1, 2), -2.0), Selected((0, 2), -6)]


def test_the_same_words_are_scored_once_and_never_selected_twice():
    model = scripted({("that", " A"): -1})
    assert ScoringSelector(model, PROMPTS, 3).select(["B.", "A.", "A."], "Q?").numbers == (1, 0)
    assert model.calls[0].texts[1:] == (" B", " A")


def test_of_equal_scores_the_earlier_counts():
    assert ScoringSelector(scripted({}), PROMPTS, 2).select(["A.", "B.", "C."], "Q?").numbers == (0, 1)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.text("abc. \x1b", min_size=1, max_size=6), min_size=1, max_size=8),
    st.integers(0, 99),
    st.integers(1, 4),
    st.integers(1, 3),
    st.booleans(),
    st.sampled_from([ScoringSelector, LabelSelector]),
)
def test_whatever_a_model_says_selections_are_numbers_of_statements(statements, seed, select, width, enough, kind):
    found = kind(chance(seed), PROMPTS, select, enough=enough).candidates(statements, "Q?", width)
    assert 1 <= len(found) <= width
    assert len({frozenset(one.numbers) for one in found}) == len(found)
    for one in found:
        assert 1 <= len(one.numbers) <= select
        assert len(set(one.numbers)) == len(one.numbers)
        assert all(0 <= number < len(statements) for number in one.numbers)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


def test_order_of_the_context_changes_only_numbers():
    backwards = CONTEXT[::-1]
    model = ScriptedLanguageModel(scores=score)
    chosen = [ScoringSelector(model, PROMPTS).select(some, QUESTION).numbers for some in (CONTEXT, backwards)]
    assert [CONTEXT[n] for n in chosen[0]] == [backwards[n] for n in chosen[1]] == [CONTEXT[0], CONTEXT[2]]


def test_odd_options_and_damaged_models_are_refused():
    with pytest.raises(ConfigError, match="select, least: expected at least 1"):
        ScoringSelector(chance(), PROMPTS, 0)
    with pytest.raises(ConfigError, match="normalise: expected sum or mean, got 'max'"):
        ScoringSelector(chance(), PROMPTS, normalise="max")
    with pytest.raises(LanguageModelError, match="probabilities that are no numbers"):
        ScoringSelector(scripted({}, math.nan), PROMPTS).select(CONTEXT, QUESTION)
