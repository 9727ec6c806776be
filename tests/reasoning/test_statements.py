"""Statements out of text files."""

import pytest

from fmcompress.errors import ConfigError
from fmcompress.reasoning import read_statements, statements_of
from fmcompress.reasoning.statements import sentences


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A is b. C is d!  Is it?", ["A is b.", "C is d!", "Is it?"]),
        ("Dr. No met J. Bond. They cost 3.50 each. \u201cYes.\u201d He left", None),
        ("", []),
        (" \n ", []),
        ("Who am I? It is I. The answer is no. X.", ["Who am I?", "It is I.", "The answer is no.", "X."]),
    ],
)
def test_sentences(text, found):
    expected = ["Dr. No met J. Bond.", "They cost 3.50 each.", "\u201cYes.\u201d", "He left"]
    assert sentences(text) == (expected if found is None else found)


def test_lines_or_prose():
    assert statements_of("A is b.\n\n  C   is d. \r\n") == ("A is b.", "C is d.")
    assert statements_of("socrates is a man\nmen are mortal") == ("socrates is a man", "men are mortal")
    assert statements_of("A is b. C is\nd. E is f.") == ("A is b.", "C is d.", "E is f.")
    assert statements_of("A is a long\nsentence over lines.\nC is d.") == (
        "A is a long sentence over lines.",
        "C is d.",
    )


def test_odd_files_are_refused(tmp_path):
    path = tmp_path / "context.txt"
    for raw, told in (
        (b" \n", "holds no statements"),
        (b"\xff\xfe", "cannot be read as UTF-8"),
        (b"A is b.\n" * 1001, "at most 1000 statements, got 1001"),
        (b"a" * ((1 << 20) + 1), "at most 1,048,576 bytes"),
    ):
        path.write_bytes(raw)
        with pytest.raises(ConfigError, match=told):
            read_statements(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_statements(tmp_path / "none.txt")
    path.write_bytes(b"\xef\xbb\xbfA is b.\n")
    assert read_statements(path) == ("A is b.",)
