"""The forward chainer against brute force: what follows, in how few steps, and what a single step may say."""

from itertools import product
from random import Random

import pytest

from fmcompress.reasoning.english import ANYONE, Literal, Rule, parse, say
from fmcompress.reasoning.following import follows
from fmcompress.reasoning.induction import induced
from fmcompress.reasoning.rules import Theory

WORDS = ["big", "cold", "red", "kind", "round", "nice"]
PEOPLE = ["Anne", "Bob"]


def applications(statements, known):
    """Everything that one rule gives from what is known: loops, and no cleverness."""
    found = set()
    for sentence in statements:
        rule = parse(sentence)
        if isinstance(rule, Rule):
            for somebody in PEOPLE:
                if all(one.about(somebody.lower()) in known for one in rule.conditions):
                    found.add(rule.conclusion.about(somebody.lower()))
    return found - known


def fewest_steps(statements, goal):
    """By breadth first search over sets of what is known."""
    start = frozenset(one for one in map(parse, statements) if isinstance(one, Literal))
    layer, steps, seen = {start}, 0, {start}
    while layer:
        if any(goal in known for known in layer):
            return steps
        layer = {known | {new} for known in layer for new in applications(statements, known)} - seen
        seen |= layer
        steps += 1
    return None


def random_theory(seed):
    random = Random(seed)
    statements = [f"{random.choice(PEOPLE)} is {random.choice(('', 'not '))}{random.choice(WORDS)}." for _ in range(3)]
    for _ in range(6):
        *conditions, end = random.sample(WORDS, random.choice((2, 3)))
        no = random.choice(("", "", "not "))
        statements.append(f"If someone is {' and '.join(conditions)} then they are {no}{end}.")
    random.shuffle(statements)
    return statements


@pytest.mark.parametrize("seed", range(40))
def test_proofs_have_the_fewest_steps_there_are(seed):
    statements = random_theory(seed)
    theory = Theory(statements)
    for person, word, holds in product(PEOPLE, WORDS, (True, False)):
        goal = Literal(person.lower(), "is", word, holds)
        proof = theory.proof(goal)
        assert (None if proof is None else len(proof)) == fewest_steps(statements, goal)
        everything = [*statements, *(step.inference for step in proof or ())]
        for at, step in enumerate(proof or ()):
            assert max(step.selection) < len(statements) + at
            assert follows([everything[number] for number in step.selection], step.inference)
        if proof:
            assert parse(proof[-1].inference) == goal


def test_flat_is_not_short():
    """A derivation of height 2 that shares nothing has three steps; one of height 3 has them as well, and two is best."""
    statements = [
        "Bob is big.",
        "Big people are red.",
        "Big people are cold.",
        "Red, cold people are nice.",
        "Bob is kind.",
        "Kind people are round.",
        "Round people are nice.",
    ]
    proof = Theory(statements).proof(Literal("bob", "is", "nice"))
    assert [step.inference for step in proof] == ["Bob is round.", "Bob is nice."]
    assert [step.selection for step in proof] == [(4, 5), (7, 6)]


def test_circles_prove_nothing():
    statements = ["Bob is big.", "Red people are cold.", "Cold people are red."]
    assert Theory(statements).proof(Literal("bob", "is", "red")) is None


def test_facts_need_no_proof_and_duplicates_count_as_statements():
    statements = ["Bob is big.", "Bob is big.", "Big people are red.", "Red people are cold."]
    theory = Theory(statements)
    assert theory.proof(Literal("bob", "is", "big")) == ()
    assert [step.selection for step in theory.proof(Literal("bob", "is", "cold"))] == [(0, 2), (4, 3)]


def test_a_walk_is_what_leads_on_and_what_lies_at_the_end():
    statements = ["Max is a cat.", "Cats are lions.", "Cats are big.", "Lions are cold."]
    assert [step.inference for step in Theory(statements).walk("max")] == ["Max is a lion.", "Max is cold."]


@pytest.mark.parametrize(
    ("selection", "inference", "wanted"),
    [
        (["Max is a cat.", "Cats are big."], "Max is big.", True),
        (["Max is a cat.", "Cats are big."], "Max is not big.", False),
        (["Max is a cat.", "Cats are big."], "Rex is big.", False),
        (["Max is a cat.", "Lions are big."], "Max is big.", False),
        (["Max is a cat.", "Cats are lions.", "Lions are big."], "Max is big.", False),  # two steps
        (["Max is a cat."], "Max is a cat.", True),
        (["Max is a cat."], "Cats are cats.", False),
        (["Max is a cat.", "Cats are big."], "Max is a cat.", True),
        (["Rex is a cat.", "Max is a cat.", "Max is red."], "Rex is red.", True),
        (["Max is red.", "Max is a cat.", "Rex is a cat."], "Rex is red.", True),
        (["Rex is a lion.", "Max is a cat.", "Max is red."], "Rex is red.", False),
        (["Rex is a cat.", "Max is a cat.", "Max is red."], "Max is red.", True),
        (["Rex is a cat.", "Max is a cat.", "Max is red."], "Rex is blue.", False),
        (["John went to the hallway."], "John is in the hallway.", False),  # not in controlled English
    ],
)
def test_what_one_step_may_say(selection, inference, wanted):
    assert follows(selection, inference) is wanted


def test_the_last_of_a_kind_is_the_example():
    statements = ["Rex is a cat.", "Rex is red.", "Max is a cat.", "Max is blue.", "Sam is a cat.", "Kim is a cat."]
    step = induced(statements, Literal("kim", "is", ANYONE))
    assert (step.selection, step.inference) == ((5, 2, 3), "Kim is blue.")
    assert induced(statements, Literal("rob", "is", ANYONE)) is None
    assert induced(["Kim is a cat."], Literal("kim", "is", ANYONE)) is None


def test_say_gives_what_parse_takes():
    for fact in Theory(random_theory(1)).heights:
        assert parse(say(fact)) == fact
