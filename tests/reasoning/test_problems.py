"""Generated problems: proofs, depths and answers by brute force, and no clue in the words."""

from collections import Counter

import pytest
from test_chainer import fewest_steps

from fmcompress.errors import ConfigError
from fmcompress.reasoning import UNKNOWN
from fmcompress.reasoning.english import ANYONE, Literal, Rule, answer_to, parse, parse_question
from fmcompress.reasoning.following import follows
from fmcompress.reasoning.problems import CHAINED, FAMILIES, generate
from fmcompress.reasoning.rules import Theory

CHAINS = generate(180, seed=3, families=CHAINED, depths=(1, 2, 3))
ALL = [*CHAINS, *generate(60, seed=4, families=("fears", "colours")), *generate(30, seed=5, families=CHAINED, pairs=1)]


@pytest.mark.parametrize("family", FAMILIES)
def test_proofs_are_valid_and_end_in_the_answer(family):
    some = [problem for problem in ALL if problem.name.startswith(family) and problem.answer != UNKNOWN]
    assert len(some) >= 30
    for problem in some:
        everything = [*problem.context, *(step.inference for step in problem.proof)]
        for at, step in enumerate(problem.proof):
            assert max(step.selection) < len(problem.context) + at
            assert follows([everything[number] for number in step.selection], step.inference)
        assert answer_to(parse_question(problem.question), parse(everything[-1])) == problem.answer
        assert problem.depth == len(problem.proof)
        if problem.choices:
            assert problem.depth == int(problem.name.split("-")[1])


def test_depths_and_answers_are_those_of_brute_force(monkeypatch):
    for problem in CHAINS:
        asked = parse_question(problem.question)
        subjects = {one.subject for one in Theory(problem.context).facts}
        monkeypatch.setattr("test_chainer.PEOPLE", [asked.subject])  # the others' facts lead nowhere near the answer
        assert asked.subject in subjects
        found = {
            answer: fewest_steps(problem.context, goal) for answer, goal in (("true", asked), ("false", asked.denied()))
        }
        known = {answer: steps for answer, steps in found.items() if steps is not None}
        assert known == ({} if problem.answer == UNKNOWN else {problem.answer: problem.depth})


def test_equal_seeds_give_equal_problems_and_answers_take_turns():
    again = generate(180, seed=3, families=CHAINED, depths=(1, 2, 3))
    assert again == CHAINS
    assert generate(180, seed=4, families=CHAINED, depths=(1, 2, 3)) != CHAINS
    assert set(Counter(problem.answer for problem in CHAINS).values()) == {60}
    assert set(Counter(problem.depth for problem in CHAINS if problem.depth).values()) == {40}
    assert len({problem.name for problem in CHAINS}) == len(CHAINS)


def clues(problem):
    """All that a reader might guess from without following a chain."""
    asked = parse_question(problem.question)
    parsed = list(map(parse, problem.context))
    ends = [(one.conclusion.what == asked.what, one.conclusion.holds) for one in parsed if not isinstance(one, Literal)]
    return {
        "the attribute occurs, and is denied": tuple(sorted(holds for same, holds in ends if same)),
        "statements": len(problem.context),
        "of the subject": sum(isinstance(one, Literal) and one.subject == asked.subject for one in parsed),
        "words of the question": problem.question.count("not"),
    }


def test_no_clue_tells_the_answer():
    """The best guess from each clue, chosen with hindsight, is right hardly more often than one of three."""
    problems = generate(1800, seed=6, families=CHAINED, depths=(1, 2, 3))
    for clue in clues(problems[0]):
        seen = {}
        for problem in problems:
            seen.setdefault(clues(problem)[clue], Counter())[problem.answer] += 1
        right = sum(max(answers.values()) for answers in seen.values())
        assert right / len(problems) < 0.40, clue


def test_what_bears_no_answer_is_not_the_commonest():
    """Of colours the most frequent one in the context is right in about half of the problems only."""
    problems = generate(400, seed=7, families=("colours",))
    right = 0
    for problem in problems:
        colours = Counter(one.what for one in map(parse, problem.context) if one.verb == "is")
        right += colours.most_common(1)[0][0] == problem.answer
    assert right / len(problems) < 0.6
    assert all(parse_question(problem.question).what == ANYONE for problem in problems)


def test_what_is_feared_most_is_right_in_half():
    problems = generate(400, seed=8, families=("fears",))
    right = 0
    for problem in problems:
        feared = Counter(one.conclusion.what for one in map(parse, problem.context) if isinstance(one, Rule))
        right += feared.most_common(1)[0][0] == problem.answer
    assert right / len(problems) < 0.6


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"families": ("riddles",)}, "family: expected one of ontology"),
        ({"families": ()}, "depths: expected"),
        ({"depths": (0, 1)}, "depths: expected some from 1 to 6"),
        ({"depths": (7,)}, "depths: expected"),
        ({"pairs": 1.5}, "pairs: expected a share"),
    ],
)
def test_what_cannot_be_generated(wrong, told):
    with pytest.raises(ConfigError, match=told):
        generate(3, seed=0, **wrong)


def test_the_deepest_have_words_enough():
    assert all(problem.depth in (6, None) for problem in generate(12, seed=1, families=CHAINED, depths=(6,), pairs=1))
