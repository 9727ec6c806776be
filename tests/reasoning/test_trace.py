"""Traces: what holds is accepted, each thing that does not is named, and JSON comes back as it was."""

import json
import math

import pytest
from lynx import CONTEXT, HUNTS, QUIET, trace

from fmcompress.errors import PayloadError, TraceError
from fmcompress.reasoning import TraceStep, read_trace


def test_what_an_answer_rests_on():
    assert trace().support() == (0, 2, 3, 4, 5)
    aside = (TraceStep((1,), "Tara flies."), TraceStep((0, 2), QUIET), TraceStep((5, 3), HUNTS))
    assert trace(steps=aside).support() == (0, 2, 3, 5, 6)  # step 1 led nowhere
    assert trace(steps=(), state="unknown", answer="unknown").support() == ()


def test_a_checker_sees_sentences_and_names_the_step():
    seen = []
    trace().validate(lambda said, inference: seen.append((said, inference)) or True)
    assert seen == [((CONTEXT[0], CONTEXT[2]), QUIET), ((QUIET, CONTEXT[3]), HUNTS)]
    with pytest.raises(TraceError, match=r"step 2: 'Milo hunts\.' does not follow from 'Milo is quiet\.' and 'Quiet"):
        trace().validate(lambda said, inference: inference != HUNTS)


BAD = {
    "later": ({"steps": (TraceStep((0, 4), QUIET),)}, r"step 1: .* below 4 \(4 of the context and 0 inferred"),
    "itself": ({"steps": (TraceStep((0, 2), QUIET), TraceStep((5,), HUNTS))}, "step 2: .* below 5 .* got 5"),
    "negative": ({"steps": (TraceStep((-1,), QUIET),)}, "step 1: .* got -1"),
    "bool": ({"steps": (TraceStep((True,), QUIET),)}, "step 1: .* got True"),
    "twice": ({"steps": (TraceStep((0, 0), QUIET),)}, "step 1: selects a statement twice"),
    "nothing selected": ({"steps": (TraceStep((), QUIET),)}, "step 1: expected statements"),
    "nothing inferred": ({"steps": (TraceStep((0,), " "),)}, "step 1: inference: expected a statement"),
    "two lines": ({"context": ("a\nb", *CONTEXT[1:])}, "statement number 0: expected a statement in one line"),
    "state": ({"state": "done"}, "state: expected answered, unknown, no progress, got 'done'"),
    "unknown with an answer": ({"state": "unknown"}, "answer: expected 'unknown' where the state is 'unknown'"),
    "no progress with an answer": ({"state": "no progress"}, "answer: expected 'unknown'"),
    "no steps": ({"steps": ()}, "expected a step and an answer"),
    "no answer": ({"answer": " "}, "expected a step and an answer"),
    "another choice": ({"answer": "maybe"}, "answer: expected one of yes, no, got 'maybe'"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_trace_is_refused(name):
    changed, told = BAD[name]
    with pytest.raises(TraceError, match=told):
        trace(**changed).validate()
    with pytest.raises((TraceError, PayloadError)):
        read_trace(trace(**changed).to_json())


def test_json_comes_back_as_it_was():
    some = trace(scores=(("yes", -0.1), ("no", -math.inf)), context=(*CONTEXT, "Ünï \u2028 \x1b[1m \ud800"))
    some = trace(scores=some.scores, context=some.context, steps=(TraceStep((0, 2), QUIET, -1 / 3),))
    assert read_trace(some.to_json()) == some
    assert read_trace(some.to_json().encode()) == some
    assert json.loads(trace().to_json())["support"] == [0, 2, 3, 4, 5]


def damaged(change):
    facts = trace().as_dict()
    change(facts)
    return json.dumps(facts)


STRANGE = {
    "no JSON": ("{", "expected JSON"),
    "a list": ("[]", "trace: expected an object of"),
    "a missing field": (damaged(lambda t: t.pop("reason")), "trace: expected an object of answer, choices"),
    "another field": (damaged(lambda t: t.update(more=1)), "trace: expected an object of"),
    "no text": (damaged(lambda t: t.update(question=3)), "question: expected a text, got 3"),
    "no list": (damaged(lambda t: t.update(context="ab")), "context: expected a list"),
    "a float": (damaged(lambda t: t["steps"][0].update(selection=[0.0, 2])), "steps 1: selection 1: .* whole number"),
    "a bool": (damaged(lambda t: t["steps"][0].update(selection=[True])), "whole number, got True"),
    "a score": (damaged(lambda t: t["steps"][0].update(score="1")), "steps 1: score: expected a number or null"),
    "NaN": (damaged(lambda t: t["steps"][0].update(score=math.nan)), "NaN is no JSON"),
    "a huge number": (damaged(lambda t: None).replace("-1.5", "1e999"), "score: expected a number"),
    "hundreds of digits": (damaged(lambda t: None).replace("-1.5", "9" * 400), "score: expected a number or null"),
    "a pair": (damaged(lambda t: t.update(scores=[["yes"]])), "scores 1: expected a text and its score"),
    "twice": ('{"answer": 1, "answer": 2}', "stands twice"),
    "deep": ("[" * 100_000, "expected JSON"),
}


@pytest.mark.parametrize("name", STRANGE)
def test_strange_json_is_refused(name):
    text, told = STRANGE[name]
    with pytest.raises(PayloadError, match=told):
        read_trace(text)


def test_a_support_that_does_not_follow_is_refused():
    with pytest.raises(TraceError, match="support: expected"):
        read_trace(damaged(lambda t: t.update(support=[0])))
