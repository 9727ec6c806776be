"""Raw records become inputs and labels, and answers are compared as the task has it."""

import pytest

from fmcompress.distillation.examples import Example
from fmcompress.distillation.tasks import TASKS, choices_of, task
from fmcompress.errors import ConfigError

CQA = {"question": " Where do beavers live? ", "choices": ["zoo", "body of water"], "answer": "body of water"}
SOLVED = {
    "question": "How much?",
    "answer": "It takes 2/2=<<2/2=1>>1 bolt.\nIn all $<<2+1000=1,002>>1,002.\n#### 1,002",
}


def test_records_become_examples():
    asked = "Where do beavers live?\nAnswer Choices:\n(a) zoo\n(b) body of water"
    assert task("cqa").example(CQA, "") == Example(asked, "body of water")
    assert choices_of(asked) == ["zoo", "body of water"]
    one = {"Body": "Two and two", "Question": "How many?", "Equation": "( 2.0 + 2.0 )", "Answer": 4.0}
    same = {"input": "Two and two\nHow many?", "label": "( 2.0 + 2.0 )"}
    assert task("svamp").example(one, "") == task("svamp").example(same, "") == Example(**same)
    pair = {"premise": "A man . ", "hypothesis": "He is .", "label": "neutral", "explanation_1": "it is not said . "}
    nli = Example("Premise: A man .\nHypothesis: He is .", "neutral", "it is not said .")
    assert task("esnli").example(pair, "") == nli
    assert task("esnli").example({**pair, "label": "-"}, "") is None
    assert task("esnli").example({**pair, "explanation_1": " "}, "") == Example(nli.input, "neutral")
    worked = Example("How much?", "1002", "It takes 2/2=1 bolt.\nIn all $1,002.")
    assert task("gsm8k").example(SOLVED, "") == worked


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("cqa", {}), ("cqa", {**CQA, "choices": 3}), ("cqa", {**CQA, "choices": "abc"}), ("cqa", {**CQA, "choices": list("abcdefghijk")}), ("cqa", {**CQA, "answer": None}), ("svamp", {"input": 3}),
        ("svamp", {"Body": "x", "Question": 1, "Equation": "2"}), ("esnli", {"premise": "x", "label": "neutral"}),
        ("gsm8k", {**SOLVED, "answer": "42"}), ("text", {"label": "x"}), ("text", {"input": "x", "rationale": 1}), ("text", {"input": "x", "label": 4}),
        ("cqa", [1]), ("text", "x"), ("esnli", None), ("gsm8k", 3),
    ],
)  # fmt: skip
def test_other_records_are_told(name, record):
    with pytest.raises(ConfigError, match=rf"f\.json, record 3: is no record of task {name}: "):
        task(name).example(record, "f.json, record 3")


@pytest.mark.parametrize(
    ("name", "answer", "label", "right"),
    [
        ("svamp", "(84 / 2)", "( 84.0 / 2.0 )", True), ("svamp", "42", "( 84.0 / 2.0 )", True),
        ("svamp", "(2 / 84)", "( 84.0 / 2.0 )", False), ("svamp", "(23 + x)", "(23 + x)", False),
        ("svamp", "nan", "nan", False), ("svamp", "1 / 0", "1 / 0", False), ("svamp", "", "", False),
        ("gsm8k", "$1,002", "1002", True), ("gsm8k", "1002.0", "1002", True), ("gsm8k", "1003", "1002", False),
        ("number", " 7 ", "7", True), ("cqa", " zoo", "zoo", True), ("cqa", "Zoo", "zoo", False),
        ("esnli", "neutral", "neutral", True), ("esnli", "neutral.", "neutral", False), ("text", "2", "2.0", False),
    ],
)  # fmt: skip
def test_right(name, answer, label, right):
    assert task(name).right(answer, label) is right


def test_flaws_are_answers_that_no_label_could_make_right():
    asked = task("cqa").example(CQA, "").input
    assert task("cqa").flaw("zoo", asked) is None
    assert task("cqa").flaw("Zoo", asked) == "none of the choices"
    assert task("cqa").flaw("Zoo", "a question without choices") is None
    assert task("esnli").flaw("maybe", "") == "none of the labels"
    assert task("svamp").flaw("(some - 8)", "") == "no value"
    assert task("svamp").flaw("(9 - 8)", "") is None
    assert task("text").flaw("anything", "") is None


def test_unknown_task():
    with pytest.raises(ConfigError, match=r"task: expected one of cqa, svamp, .*, got 'qa'"):
        task("qa")
    assert all(name == one.name for name, one in TASKS.items())
