"""Rows for training: what each part is asked, in the words in which a reasoner asks it."""

from collections import Counter
from random import Random

import pytest

from fmcompress.errors import ConfigError
from fmcompress.reasoning import UNKNOWN, Problem, Step, TrainedPrompts
from fmcompress.reasoning.problems import FAMILIES, generate
from fmcompress.reasoning.prompts import NOT_YET
from fmcompress.reasoning.training_rows import PARTS, training_rows
from fmcompress.reasoning.word_tokenizer import new_word_tokenizer
from fmcompress.training.text_rows import Row

CONTEXT = ("Max is a cat.", "Lions are big.", "Cats are lions.", "Rex is a dog.")
PROBLEM = Problem(
    CONTEXT, "Is Max big?", "true", ("true", "false"), 2, (Step((0, 2), "Max is a lion."), Step((4, 1), "Max is big."))
)
PROMPTS = TrainedPrompts()


def rows(part, problem=PROBLEM, **options):
    return [(row.prompt, row.completion) for row in training_rows(problem, parts=(part,), **options)]


def test_selections_are_in_the_canonical_order_and_end():
    before, after = list(CONTEXT), [*CONTEXT, "Max is a lion."]
    assert rows("selection") == [
        (PROMPTS.selection(before, "Is Max big?", ()), " Max is a cat"),
        (PROMPTS.selection(before, "Is Max big?", ["Max is a cat."]), " Cats are lions"),
        (PROMPTS.selection(before, "Is Max big?", ["Max is a cat.", "Cats are lions."]), PROMPTS.enough()),
        (PROMPTS.selection(after, "Is Max big?", ()), " Max is a lion"),
        (PROMPTS.selection(after, "Is Max big?", ["Max is a lion."]), " Lions are big"),
        (PROMPTS.selection(after, "Is Max big?", ["Max is a lion.", "Lions are big."]), PROMPTS.enough()),
    ]


def test_whole_selections_are_the_same_text():
    first, second = rows("selection", whole_selections=True)
    assert first[1] == " Max is a cat and Cats are lions and nothing more"
    one_by_one = [prompt + completion for prompt, completion in rows("selection")]
    for text, at in ((first, 2), (second, 5)):
        assert "".join(text) == one_by_one[at]
        assert all("".join(text).startswith(one) for one in one_by_one[at - 2 : at])


def test_an_inferrer_learns_what_follows_and_to_make_nothing_up():
    for (right, said), (wrong, again) in zip(*[iter(rows("inference"))] * 2, strict=True):
        assert "and" in right
        assert said in (" Max is a lion.", " Max is big.")
        assert wrong.startswith(right.split(" and ")[0])
        assert wrong != right
        assert PROMPTS.inference([again.strip()]).removesuffix(". Therefore") in wrong


def test_a_halter_answers_after_the_last_step():
    assert rows("halt") == [
        (PROMPTS.halting("Is Max big?", ["Max is a lion."]), f" {NOT_YET}"),
        (PROMPTS.halting("Is Max big?", ["Max is a lion.", "Max is big."]), " true"),
    ]


def test_values_judge_steps_as_they_are_and_spoiled():
    found = rows("value")
    assert [verdict for _, verdict in found] == [" correct", " incorrect"] * 2
    assert all(right[0] != wrong[0] for right, wrong in zip(found[::2], found[1::2], strict=True))
    assert found == rows("value")
    assert any(rows("value", seed=seed) != found for seed in range(1, 5))


def test_direct_answers_and_chains():
    assert rows("direct") == [(PROMPTS.direct(CONTEXT, "Is Max big?"), " true")]
    (_, chain) = rows("chain")[0]
    assert chain.startswith(" Max is a cat and Cats are lions. Therefore, Max is a lion. Max is a lion and Lions")
    assert chain.endswith("Therefore, Max is big. The answer is true.")


def test_where_nothing_answers_the_halter_never_does():
    problem = next(one for one in generate(60, seed=1, families=("ontology",), pairs=0) if one.answer == UNKNOWN)
    assert {said for _, said in rows("halt", problem)} == {f" {NOT_YET}"}
    assert rows("direct", problem)[0][1] == f" {UNKNOWN}"


def test_a_drawn_step_gives_every_part_as_many_rows():
    problems = generate(60, seed=2, pairs=0)
    drawn = Random(0)
    found = [training_rows(one, drawn=drawn, whole_selections=True) for one in problems]
    counted = Counter(row.part for some in found for row in some)
    assert counted["selection"] == counted["direct"] == counted["chain"] == counted["halt"] == 60
    assert counted["inference"] == counted["value"] == 120
    steps = {row.prompt for some in found for row in some if row.part == "halt"}
    assert not steps >= {row[0] for one in problems for row in rows("halt", one)}


def test_what_cannot_become_rows():
    with pytest.raises(ConfigError, match="part: expected one of"):
        training_rows(PROBLEM, parts=("selection", "guess"))
    with pytest.raises(ConfigError, match="expected one with a proof"):
        training_rows(Problem(CONTEXT, "Is Max big?", "true"))


def test_the_word_tokenizer_knows_every_word():
    words = new_word_tokenizer()
    for problem in generate(200, seed=3, families=FAMILIES):
        for row in training_rows(problem, parts=PARTS):
            assert isinstance(row, Row)
            assert words.unk_token_id not in words(row.prompt + row.completion)["input_ids"], row
    assert words.tokenize("Wumpuses are wolves.") == ["wumpus", "##es", "are", "wolves", "."]
    assert words.decode(words("Max is a wumpus.")["input_ids"]) == "max is a wumpus."
