"""What a teacher wrote is taken apart, or counted; whatever it wrote."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmcompress.distillation.completions import Parsed, parse, with_teacher
from fmcompress.distillation.examples import Example
from fmcompress.distillation.tasks import FLAWS, TASKS, task

GOOD = [
    ("cqa", " It is wet. So the answer is (c) wooded area.\n\nQ: Next?\nSo the answer is (a) x.", "wooded area"),
    ("cqa", "It is wet. So the answer is (c) U.S..", "U.S."),
    ("cqa", "It is wet. So the answer is (c) a or (d) b.", "a or (d) b"),
    ("svamp", "It is wet. The answer is (10 - (3 + 6)).\nMore.", "(10 - (3 + 6))"),
    ("svamp", "It is wet. The answer is (1) and (2).", "(1) and (2)"),
    ("svamp", "It is wet. The answer is (1). The answer is (2).", "(1)"),
    ("esnli", "It is wet. So the answer is neutral.\nPremise: next", "neutral"),
    ("gsm8k", "It is wet. The answer is $70,000.", "70000"),
    ("gsm8k", "It is wet. The answer is: 5 + 3 = 8 ducks, not 9.", "8"),
    ("gsm8k", "It is wet. the answer is −1.5", "-1.5"),
    ("text", "It is wet. The answer is a small cat.\nOr not.", "a small cat"),
]


@pytest.mark.parametrize(("name", "completion", "label"), GOOD)
def test_rationale_and_label(name, completion, label):
    assert parse(completion, task(name)) == Parsed("It is wet.", label)


@pytest.mark.parametrize(
    ("name", "completion", "reason"),
    [
        ("cqa", "", "no text"), ("cqa", " \nQ: So the answer is (a) x.", "no text"), ("cqa", "It is (c) x.", "no answer"),
        ("cqa", "So the answer is one of these four.", "no choice"), ("cqa", "So the answer is (c).", "no choice"),
        ("svamp", "So 4 / 2 is 2.", "no answer"), ("svamp", "The answer is 42.", "no expression"),
        ("svamp", "The answer is ((491 - 21", "no expression"), ("svamp", "The answer is (1\n)", "no expression"),
        ("esnli", "It may. So the answer is .", "no label"), ("gsm8k", "The answer is unknown.", "no number"),
        ("esnli", "It may.\nPremise: x\nA: So the answer is neutral.", "no answer"),
        ("text", "The answer is", "no label"), ("text", "The answer isn", "no answer"),
    ],
)  # fmt: skip
def test_why_there_is_no_label(name, completion, reason):
    assert parse(completion, task(name)) == Parsed(unparsed=reason)


def test_an_answer_without_a_reason_is_an_answer():
    assert parse("The answer is (4).", task("svamp")) == Parsed(None, "(4)")


@pytest.mark.parametrize("name", TASKS)
@given(text=st.lists(st.sampled_from(["The answer is", "So the answer is", "(a)", "(", ")", "Q:", "Premise:", "=", "$", "3,",
                                      ".", "-", "\n", " "]) | st.text(max_size=6), max_size=12).map("".join))  # fmt: skip
def test_any_text_is_parsed_or_has_a_reason(name, text):
    found = parse(text, task(name))
    assert (found.label is None) == (found.unparsed is not None)
    assert found.label is not None or found.rationale is None
    assert found.label is None or found.label.strip() == found.label != ""
    taken = with_teacher(Example("Q", "7", completion=text), task(name))
    assert (taken.teacher_label is None) == (taken.unparsed is not None)
    assert taken.teacher_label is not None or taken.rationale is None  # so that nothing trains on it


@pytest.mark.parametrize(("name", "text"), [("gsm8k", "x" + " " * 200_000 + "y"), ("svamp", "(" * 200_000)])
def test_texts_made_to_be_slow_are_read_in_one_pass(name, text):
    """A search that begins anew at each character would not end."""
    assert parse(f"The answer is {text}", task(name)).label is None


def test_what_no_label_could_make_right_is_not_kept():
    person = Example("2 and 2?", "( 2.0 + 2.0 )", "a person's reason", split="train")
    bad = with_teacher(Example(**{**vars(person), "completion": "Hm. The answer is (2 + x)."}), task("svamp"))
    assert (bad.rationale, bad.teacher_label, bad.unparsed) == (None, None, "no value")
    assert bad.unparsed in FLAWS
    good = with_teacher(Example(**{**vars(person), "completion": "Hm. The answer is (2 + 2)."}), task("svamp"))
    assert (good.rationale, good.teacher_label, good.unparsed) == ("Hm.", "(2 + 2)", None)
    assert with_teacher(person, task("svamp")).rationale is None
