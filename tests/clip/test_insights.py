"""Insights in files, from a language model, and as directions."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from fmcompress.clip import normalised
from fmcompress.clip.ask_insights import ask_for_insights, parse_pairs
from fmcompress.clip.insights import Insight, directions, read_insights, write_insights
from fmcompress.errors import ConfigError, LanguageModelError

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "clip"


class Says:
    """A language model that gives one answer to all prompts, and remembers them."""

    name = "says"

    def __init__(self, *answers: str) -> None:
        self.answers, self.prompts = list(answers), []

    def generate(self, prompts: Sequence[str], **_: object) -> list[list[str]]:
        self.prompts += prompts
        return [self.answers for _ in prompts]

    def score(self, prefix: str, continuations: Sequence[str]) -> list[object]:
        raise NotImplementedError


def encode(texts: Sequence[str]) -> np.ndarray:
    rows = [np.random.default_rng(list(text.encode())).standard_normal(16) for text in texts]
    return normalised(np.stack(rows))


def test_answers_are_read_in_many_forms() -> None:
    lines = "Sure! Here they are:\n1. on water | on land\n- **blue** | `green`\n* a|b|c\n(3) wet | wet\n```\n"
    pairs, unread = parse_pairs(lines)
    assert pairs == [("on water", "on land"), ("blue", "green")]
    assert unread == ["Sure! Here they are:", "a|b|c", "wet | wet"]
    assert parse_pairs('```json\n[["a x", "b"], {"a": "c", "b": "d"}, 5]\n```') == ([("a x", "b"), ("c", "d")], ["5"])
    assert parse_pairs('{"differences": [["a", "b"]]}') == ([("a", "b")], [])
    assert parse_pairs("") == ([], [])
    assert parse_pairs(f"{'a' * 300} | b") == ([], [f"{'a' * 300} | b"])


def test_every_two_classes_are_asked_about_both_kinds() -> None:
    model = Says("on water | on land\nnonsense", "on water | on land")
    answers = ask_for_insights(model, ["heron", "finch", "gull"], "photographs of birds", date="2026-01-01")
    assert len(model.prompts) == 6
    assert all("photographs of birds" in prompt for prompt in model.prompts)
    assert all(word in model.prompts[0] for word in ("heron", "finch", "misleading"))
    assert [insight.kind for insight in answers.insights] == ["reject", "accept"]
    assert answers.insights[0] == Insight("reject", "on water", "on land", "says", ("heron", "finch"), "2026-01-01")
    assert answers.unread == ("nonsense",) * 6
    assert answers.repeated == 10


def test_rubbish_is_told_in_one_line() -> None:
    with pytest.raises(
        LanguageModelError, match=r"says: expected lines 'a \| b' about x and y, got 'I am sorry"
    ) as told:
        ask_for_insights(Says("I am sorry,\nI cannot. " * 50), ["x", "y"])
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 300
    with pytest.raises(ConfigError, match="at least two different names"):
        ask_for_insights(Says("a | b"), ["x"])


def test_files(tmp_path: Path) -> None:
    insights = (
        Insight("reject", "on water", "on land", "me", ("heron", "finch"), "2026-01-01"),
        Insight("accept", "a long bill", "a short bill"),
    )
    write_insights(tmp_path / "i.json", insights)
    assert read_insights(tmp_path / "i.json") == insights
    assert json.loads((tmp_path / "i.json").read_text())["insights"][0]["source_model"] == "me"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "at least one insight"),
        ('{"insights": {}}', "at least one insight"),
        ('["a"]', "insight 0: expected an object"),
        ('[{"kind": "reject", "a": "x", "b": "y"}, {"kind": "drop", "a": "x", "b": "y"}]', "insight 1: .*got 'drop'"),
        ('[{"kind": "reject", "a": "x"}]', "insight 0: .*two texts that differ"),
        ('[{"kind": "reject", "a": "x", "b": 5}]', "insight 0: expected text as b, got 5"),
        ('[{"kind": "reject", "a": "x", "b": "y", "class_pair": ["z"]}]', "insight 0: expected two names"),
        ('[{"kind": "reject", "a": "x", "b": "y", "c": 1}]', "insight 0: 'c' is no key"),
    ],
)
def test_bad_files(tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "i.json").write_text(content)
    with pytest.raises(ConfigError, match=told):
        read_insights(tmp_path / "i.json")


def test_directions_are_raw_differences() -> None:
    insights = [Insight("reject", "a", "b"), Insight("accept", "c", "b"), Insight("reject", "c", "d")]
    reject, accept = directions(insights, encode)
    np.testing.assert_allclose(reject, encode(["a", "c"]) - encode(["b", "d"]))
    np.testing.assert_allclose(accept, encode(["c"]) - encode(["b"]))
    assert directions(insights[1:2], encode)[0].shape == (0, 16)
    with pytest.raises(ConfigError, match="insights to reject: both texts of pair 0"):
        directions(insights[:1], lambda texts: np.ones((len(texts), 4)) / 2)


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*-insights.json")), ids=lambda file: file.stem)
def test_examples_can_be_read(file: Path) -> None:
    assert {insight.kind for insight in read_insights(file)} == {"reject", "accept"}
