"""An oracle's traces: all right within the steps allowed, unknown beyond, every step checked."""

import pytest

from fmcompress.reasoning import UNKNOWN
from fmcompress.reasoning.datasets import read_babi, read_prontoqa, read_proofwriter
from fmcompress.reasoning.following import follows
from fmcompress.reasoning.gold import gold_steps, with_proof
from fmcompress.reasoning.oracle import OracleInferrer, oracle
from fmcompress.reasoning.problems import generate
from fmcompress.reasoning.trace import ANSWERED, NO_PROGRESS

PROBLEMS = generate(120, seed=11)


def traces_of(problems, steps):
    for problem in problems:
        trace = oracle(steps).run(problem.context, problem.question, problem.choices)
        trace.validate(follows)
        yield problem, trace


def test_all_generated_problems_are_right_by_shortest_proofs():
    for problem, trace in traces_of(PROBLEMS, 6):
        assert trace.answer == problem.answer
        assert (trace.state == ANSWERED) == (problem.answer != UNKNOWN)
        if problem.proof:
            assert len(trace.steps) == problem.depth


def test_beyond_the_allowed_steps_the_answer_is_unknown():
    deep = [problem for problem in PROBLEMS if (problem.depth or 0) > 2]
    assert len(deep) > 10
    for _, trace in traces_of(deep, 2):
        assert (trace.answer, trace.state, len(trace.steps)) == (UNKNOWN, UNKNOWN, 2)


def test_where_nothing_leads_on_there_is_no_progress():
    unknown = [one for one in generate(30, seed=12, families=("ontology",), pairs=0) if one.answer == UNKNOWN]
    assert {trace.state for _, trace in traces_of(unknown, 6)} == {NO_PROGRESS}


def test_what_is_stated_is_said_again():
    trace = oracle().run(("Bob is red.", "Red things are cold."), "Is Bob not red?", ("true", "false"))
    assert (trace.answer, [step.selection for step in trace.steps]) == ("false", [(0,)])


def test_what_an_inferrer_says():
    infer = OracleInferrer().infer
    assert infer(["Bob is red.", "Red things are cold."]) == "Bob is cold."
    assert infer(["Bob is red.", "Red things are cold.", "Cold things are nice."]) == "Bob is cold."
    assert infer(["Rex is a cat.", "Max is a cat.", "Max is red."]) == "Rex is red."
    assert infer(["Bob is red."]) == "Bob is red."
    assert infer(["Red things are cold.", "Cold things are nice."]) == ""


@pytest.mark.parametrize("task", [15, 16])
def test_babi_is_answered_whole(shared_data, task):
    for problem, trace in traces_of(read_babi(shared_data / "babi", task), 1):
        assert trace.answer == problem.answer


def test_proofwriter_and_prontoqa_are_answered_whole(shared_data):
    for problem, trace in traces_of(read_proofwriter(shared_data / "proofwriter")[::4], 7):
        assert trace.answer == problem.answer
        proved = with_proof(problem)
        assert (proved.depth is None) == (problem.answer == UNKNOWN)
    for problem, trace in traces_of(read_prontoqa(shared_data / "prontoqa")[::10], 5):
        assert trace.answer == problem.answer
        assert len(trace.steps) == len(gold_steps(problem)) == 5
