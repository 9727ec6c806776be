"""Readers of bAbI, ProofWriter and ProntoQA: small files of their form, the real ones, and damaged ones."""

import gzip
import json

import pytest

from fmcompress.errors import ConfigError
from fmcompress.reasoning import UNKNOWN, Step
from fmcompress.reasoning.datasets import BABI_TASKS, read_babi, read_prontoqa, read_proofwriter

BABI = """1 Mice are afraid of wolves.
2 Gertrude is a mouse.
3 What is gertrude afraid of?\twolf\t2 1
4 Emily is a mouse.
5 What is emily afraid of?\twolf\t4 1
1 Lily is a swan.
2 What color is Lily?\twhite\t
"""
WRITER = {
    "id": "one",
    "context": "The cat sees the cow. Bob is red. Red things are cold.",
    "question": "Based on the above information, is the following statement true, false, or unknown? The cat is cold.",
    "answer": "C",
}
PRONTO = {
    "id": "two",
    "context": "Jompuses are not shy. Each yumpus is a jompus. Max is a yumpus.",
    "question": "Is the following statement true or false? Max is shy.",
    "answer": "B",
    "explanation": ["Max is a yumpus.", "Each yumpus is a jompus.", "Max is a jompus.", "Jompuses are not shy.",
                    "Max is not shy."],
}  # fmt: skip


def written(tmp_path, name, items):
    path = tmp_path / name
    path.write_text(items if isinstance(items, str) else json.dumps(items))
    return path


def test_babi_questions_see_what_was_said_before(tmp_path):
    first, second, third = read_babi(written(tmp_path, "qa15_test.txt", BABI))
    assert first.context == ("Mice are afraid of wolves.", "Gertrude is a mouse.")
    assert (first.question, first.answer, first.choices) == ("What is gertrude afraid of?", "wolf", ())
    assert first.proof == (Step((1, 0), "Gertrude is afraid of wolves."),)
    assert second.context == (*first.context, "Emily is a mouse.")
    assert second.proof == (Step((2, 0), "Emily is afraid of wolves."),)
    assert (third.context, third.proof, third.depth) == (("Lily is a swan.",), None, None)


def test_proofwriter_has_no_proofs(tmp_path):
    (problem,) = read_proofwriter(written(tmp_path, "dev.json", [WRITER]))
    assert problem.context == ("The cat sees the cow.", "Bob is red.", "Red things are cold.")
    assert (problem.question, problem.answer) == ("Is the cat cold?", UNKNOWN)
    assert (problem.proof, problem.depth, problem.choices) == (None, None, ("true", "false", UNKNOWN))
    packed = tmp_path / "train.json.gz"
    packed.write_bytes(gzip.compress(json.dumps([WRITER]).encode()))
    assert read_proofwriter(packed) == [problem]
    (odd,) = read_proofwriter(written(tmp_path, "odd.json", [WRITER | {"question": "true? It rains."}]))
    assert odd.question == "Is it true that It rains?"


def test_prontoqa_has_its_chain_as_the_proof(tmp_path):
    written(tmp_path, "dev.json", [PRONTO])
    (problem,) = read_prontoqa(tmp_path)
    assert (problem.question, problem.answer, problem.depth) == ("Is Max shy?", "false", 2)
    assert problem.proof == (Step((2, 1), "Max is a jompus."), Step((3, 0), "Max is not shy."))


def test_the_real_files(shared_data):
    for task in BABI_TASKS:
        problems = read_babi(shared_data / "babi", task)
        assert len(problems) == 1000
        assert all(problem.proof for problem in problems)
        assert problems[0].name == f"babi-{task}-0"
    writer = read_proofwriter(shared_data / "proofwriter")
    assert [sum(one.answer == answer for one in writer) for answer in ("true", "false", UNKNOWN)] == [200] * 3
    pronto = read_prontoqa(shared_data / "prontoqa")
    assert len(pronto) == 500
    assert {problem.depth for problem in pronto} == {5}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "expected questions of bAbI, got none"),
        ("1 Mice are grey.\n", "expected questions of bAbI"),
        ("Mice are grey.\n", "line 1: expected a line's number"),
        ("1 Mice are grey.\n3 Cats are red.\n", "line 2: expected a line's number"),
        ("1 What is it?\tred\t\n", "line 1: expected a question, its answer"),
        ("1 Mice are grey.\n2 What are mice?\n", "expected questions of bAbI"),
        ("1 Mice are grey.\n2 What are mice?\tgrey\t7\n", "line 2: expected a question, its answer"),
        ("9" * 5000 + " Mice are grey.\n", "line 1: expected a line's number"),
        ("1 Mice are grey.\n2 What are mice?\tgrey\t" + "9" * 5000 + "\n", "line 2: expected a question, its answer"),
        ("1 Mice are grey.\n2 What are mice?\tgrey\tone\n", "line 2: expected a question, its answer"),
    ],
)
def test_damaged_babi_is_told_in_a_line(tmp_path, text, told):
    with pytest.raises(ConfigError, match=told) as caught:
        read_babi(written(tmp_path, "qa1.txt", text))
    assert "\n" not in str(caught.value)


def test_what_is_no_babi_folder(tmp_path):
    with pytest.raises(ConfigError, match="task: expected one of 1, 2, 3, 15, 16, got 4"):
        read_babi(tmp_path, 4)
    with pytest.raises(ConfigError, match="expected a file qa15"):
        read_babi(tmp_path, 15)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_babi(tmp_path / "no.txt")


@pytest.mark.parametrize(
    ("items", "told"),
    [
        ("[" * 100_000, "expected JSON, got a damaged file"),
        ("[" + "9" * 5000 + "]", "expected JSON, got a damaged file"),
        ('[{"context": ', "expected JSON, got a damaged file"),
        ({}, "expected a list of questions"),
        ([], "expected a list of questions"),
        (["one"], "question 1: expected an object with context"),
        ([PRONTO, PRONTO | {"context": " "}], "question 2: expected an object with context"),
        ([PRONTO | {"context": ["Max is a yumpus."]}], "question 1: expected an object with context"),
        ([PRONTO | {"answer": "C"}], "question 1: expected an object with context"),
        ([PRONTO | {"answer": 3}], "question 1: expected an object with context"),
        ([PRONTO | {"explanation": None}], "question 1: expected an explanation"),
        ([PRONTO | {"explanation": PRONTO["explanation"][:2]}], "question 1: expected an explanation"),
        ([PRONTO | {"explanation": ["Max is big."]}], "question 1: expected an explanation"),
    ],
)
def test_damaged_prontoqa_is_told_in_a_line(tmp_path, items, told):
    with pytest.raises(ConfigError, match=told) as caught:
        read_prontoqa(written(tmp_path, "dev.json", items))
    assert "\n" not in str(caught.value)


def test_damaged_archives_are_told(tmp_path):
    path = tmp_path / "train.json.gz"
    path.write_bytes(gzip.compress(b"[]" * 100)[:-9])
    with pytest.raises(ConfigError, match="cannot be read"):
        read_proofwriter(path)
    spoiled = bytearray(gzip.compress(json.dumps([WRITER] * 50).encode()))
    spoiled[30] ^= 0xFF
    path.write_bytes(spoiled)
    with pytest.raises(ConfigError, match=r"gz: cannot be read as text \(Error"):
        read_proofwriter(path)
    path.write_bytes(b"no archive")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_proofwriter(path)
