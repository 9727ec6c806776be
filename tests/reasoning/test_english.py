"""Controlled English: what is read, what is said, and what is no statement."""

import pytest

from fmcompress.errors import ConfigError
from fmcompress.reasoning.english import ANYONE, Literal, Rule, answer_to, ask, parse, parse_question, plural, say


def rule(*conditions, then):
    return Rule(tuple(Literal(*condition) for condition in conditions), Literal(*then))


FACTS = {
    "Alan is not kind.": Literal("alan", "is", "kind", False),
    "Max is a yumpus.": Literal("max", "is a", "yumpus"),
    "Max is an impus.": Literal("max", "is a", "impus"),
    "Emily is afraid of wolves.": Literal("emily", "is afraid of", "wolf"),
    "The bald eagle chases the cat.": Literal("the bald eagle", "chase", "the cat"),
    "The cat does not see the bald eagle.": Literal("the cat", "see", "the bald eagle", False),
    "The cat is not round.": Literal("the cat", "is", "round", False),
}
RULES = {
    "If someone is kind and big then they are not round.": rule(
        (ANYONE, "is", "kind"), (ANYONE, "is", "big"), then=(ANYONE, "is", "round", False)
    ),
    "If something is red and not big then it sees the cat.": rule(
        (ANYONE, "is", "red"), (ANYONE, "is", "big", False), then=(ANYONE, "see", "the cat")
    ),
    "If someone sees the cat and they do not eat the cow then the cow is cold.": rule(
        (ANYONE, "see", "the cat"), (ANYONE, "eat", "the cow", False), then=("the cow", "is", "cold")
    ),
    "If Dave is smart and Dave is kind then Dave is quiet.": rule(
        ("dave", "is", "smart"), ("dave", "is", "kind"), then=("dave", "is", "quiet")
    ),
    "All kind things are big.": rule((ANYONE, "is", "kind"), then=(ANYONE, "is", "big")),
    "Red, cold people are not round.": rule(
        (ANYONE, "is", "red"), (ANYONE, "is", "cold"), then=(ANYONE, "is", "round", False)
    ),
    "Each wumpus is a dumpus.": rule((ANYONE, "is a", "wumpus"), then=(ANYONE, "is a", "dumpus")),
    "Every tumpus is not angry.": rule((ANYONE, "is a", "tumpus"), then=(ANYONE, "is", "angry", False)),
    "Jompuses are yumpuses.": rule((ANYONE, "is a", "jompus"), then=(ANYONE, "is a", "yumpus")),
    "Rompuses are not luminous.": rule((ANYONE, "is a", "rompus"), then=(ANYONE, "is", "luminous", False)),
    "Wolves are afraid of mice.": rule((ANYONE, "is a", "wolf"), then=(ANYONE, "is afraid of", "mouse")),
    "Sheep are afraid of cats.": rule((ANYONE, "is a", "sheep"), then=(ANYONE, "is afraid of", "cat")),
}


@pytest.mark.parametrize("sentence", [*FACTS, *RULES])
def test_sentences_are_read_whatever_their_case(sentence):
    wanted = {**FACTS, **RULES}[sentence]
    assert parse(sentence) == wanted
    assert parse(sentence.upper()) == wanted


@pytest.mark.parametrize("sentence", FACTS)
def test_what_is_said_is_what_was_read(sentence):
    assert say(FACTS[sentence]) == sentence
    assert parse_question(ask(FACTS[sentence])) == FACTS[sentence]


@pytest.mark.parametrize(
    "text", ["", "John moved to the hallway.", "If it rains then", "Why?", "Is it true that it?", "Is it kind?"]
)
def test_other_sentences_are_refused(text):
    with pytest.raises(ConfigError, match="statement: expected a fact or a rule"):
        parse(text)
    with pytest.raises(ConfigError, match="question: expected"):
        parse_question(text)


@pytest.mark.parametrize(
    ("question", "fact", "answer"),
    [
        ("Is it true that Max is sour?", "Max is sour.", "true"),
        ("Is Max not sour?", "Max is sour.", "false"),
        ("Is it true that Max is not sour?", "Max is not sour.", "true"),
        ("Is it true that Max is sour?", "Max is big.", None),
        ("Is it true that Max is sour?", "Rex is sour.", None),
        ("What is emily afraid of?", "Emily is afraid of mice.", "mouse"),
        ("What color is Brian?", "Brian is white.", "white"),
        ("What color is Brian?", "Brian is not white.", None),
        ("What color is Brian?", "Brian is a swan.", None),
    ],
)
def test_what_a_fact_answers(question, fact, answer):
    assert answer_to(parse_question(question), parse(fact)) == answer


def test_plurals():
    assert [plural(one) for one in ("wolf", "mouse", "sheep", "cat", "wumpus")] == [
        "wolves", "mice", "sheep", "cats", "wumpuses",
    ]  # fmt: skip
