"""Traces for a person: as text and as a picture, with a stranger's control characters spelt out."""

import pytest
from lynx import CONTEXT, QUIET, trace

from fmcompress.errors import ConfigError
from fmcompress.reasoning import Reply, TraceStep
from fmcompress.reasoning.picture import plot_trace
from fmcompress.reasoning.rendering import reply_lines, trace_lines

WHOLE = """\
Question: Does Milo hunt?

  1. Milo is a lynx.
  2. Tara is a gull.
  3. Every lynx is quiet.
  4. Quiet animals hunt.

Step 1 (score -1.50)
  because     1. Milo is a lynx.
  and         3. Every lynx is quiet.
  therefore   5. Milo is quiet.

Step 2 (score -0.25, value 2.00)
  because     5. Milo is quiet.
  and         4. Quiet animals hunt.
  therefore   6. Milo hunts.

Scores: yes -0.10 · no -3.00
Answer: yes
Rests on: statements 1, 3, 4 of 4 (1 not used)"""


def test_a_trace_as_text():
    assert "\n".join(trace_lines(trace(), explain=True)) == WHOLE
    assert trace_lines(trace()) == ["Answer: yes"]


def test_an_end_without_an_answer_says_why():
    some = {"answer": "unknown", "scores": ()}
    stuck = trace(state="no progress", reason="step 2 inferred what was known already", **some)
    assert trace_lines(stuck) == ["Answer: unknown (no progress: step 2 inferred what was known already)"]
    assert trace_lines(trace(state="unknown", reason="no answer within 2 steps", **some)) == [
        "Answer: unknown (no answer within 2 steps)"
    ]
    assert trace_lines(trace(state="no progress", steps=(), **some), explain=True)[-1] == "Rests on: nothing"


def strange():
    context = ("Milo \x1b[2Jis\x07 a $lynx$ & <b>.", *CONTEXT[1:])
    return trace(context=context, question="Does \x1b[1mMilo\u202e hunt?", steps=(TraceStep((0, 2), QUIET),))


def test_control_characters_are_spelt_out():
    lines = trace_lines(strange(), explain=True)
    assert all(line.isprintable() for line in lines)
    assert r"  1. Milo \x1b[2Jis\x07 a $lynx$ & <b>." in lines
    assert all(line.isprintable() for line in reply_lines(Reply("\x1b", (("\n", -1),), ("\x07",) * 2), explain=True))


def test_a_reply_as_text():
    found = Reply("yes", (), (" A.\nSo B.", "C."), (("yes", 1), ("no", 1)))
    assert reply_lines(found) == ["Answer: yes"]
    assert reply_lines(found, explain=True) == [
        r"Chain 1: A.\nSo B.", "Chain 2: C.", "Votes: 1 for yes, 1 for no", "Answer: yes",
    ]  # fmt: skip
    scored = Reply("no", (("yes", -2.0), ("no", -1.0)))
    assert reply_lines(scored, explain=True) == ["Scores: yes -2.00 · no -1.00", "Answer: no"]


def texts_of(path):
    """What stands in an SVG: matplotlib notes the texts whose glyphs it draws."""
    return [part.split("-->")[0].strip() for part in path.read_text(encoding="utf-8").split("<!--")[1:]]


def test_a_picture_shows_what_is_used(tmp_path):
    path = tmp_path / "trace.svg"
    plot_trace(trace(), path)
    texts = texts_of(path)
    assert {"Does Milo hunt?", "1. Milo is a lynx.", "5. Milo is quiet.", "6. Milo hunts.", "Answer: yes"} <= set(texts)
    assert "1 of 4 statements are not used." in texts
    assert not any("Tara" in text for text in texts)
    before = path.read_bytes()
    plot_trace(trace(), path)
    assert path.read_bytes() == before


def test_pictures_of_odd_traces(tmp_path):
    long = trace(context=(" ".join(["lynx"] * 200) + ".", *CONTEXT[1:]))
    aside = trace(steps=(TraceStep((1,), "Tara flies."), *(TraceStep((0, 2 + 3 * n), f"Step {n}.") for n in (0, 1))))
    none = trace(steps=(), state="no progress", answer="unknown", scores=(), reason="step 1 selected nothing")
    for name, one in {"strange": strange(), "long": long, "aside": aside, "none": none}.items():
        one.validate()
        for kind in ("png", "svg", "pdf"):
            plot_trace(one, tmp_path / f"{name}.{kind}")
            assert (tmp_path / f"{name}.{kind}").stat().st_size > 1000
    assert "4 of 4 statements are not used." in texts_of(tmp_path / "none.svg")
    assert "2 of 4 statements are not used, and 1 of 3 steps." in texts_of(tmp_path / "aside.svg")
    with pytest.raises(ConfigError, match=r"ends in \.png"):
        plot_trace(trace(), tmp_path / "trace.jpg")
