"""A file of answers: JSON, one line an answer, which a person can write as well as a program."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..checkpoint import write_error
from ..errors import LanguageModelError
from .protocol import Score
from .settings import Settings

Given = tuple[dict[str, Any] | None, list[str]]  # the settings asked with, if known, and the texts
FIELDS = ("max_tokens", "temperature", "top_p", "stop", "seed")  # what decides a text; samples only say how many


def facts_of(settings: Settings, model: str) -> dict[str, Any]:
    """What an answer was asked with, as it stands in a file."""
    facts = settings.as_dict()
    return {"model": model, **{name: facts[name] for name in FIELDS}}


class AnswerFile:
    """What a file answers. Its lines are of two kinds:

    {"prompt": …, "completions": [… or one text as "completion"], "settings": {…} if known}
    {"prefix": …, "continuation": …, "log_probability": …, "tokens": …, "model": … if known}

    Raises LanguageModelError for a line that is neither. A file that is not there is empty.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.texts: dict[str, list[Given]] = {}
        self.scores: dict[tuple[str, str], dict[str | None, Score]] = {}  # by model
        try:
            self._whole = path.read_bytes() if path.exists() else b""
            lines = self._whole.decode("utf-8").split("\n")  # not at U+2028, which may stand in a text
        except (OSError, UnicodeDecodeError) as error:
            raise LanguageModelError(f"{path}: cannot be read as UTF-8 text ({error}).") from None
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    self._take(json.loads(line))
                except (ValueError, KeyError, TypeError, RecursionError):
                    raise LanguageModelError(
                        f'{path}, line {number}: expected a JSON object with "prompt" and "completions", or with '
                        '"prefix", "continuation", "log_probability" and "tokens".'
                    ) from None

    def find(self, prompt: str, samples: int, asked: dict[str, Any], *, strict: bool) -> list[str] | None:
        """The texts of a prompt, or None if there are fewer.

        asked   what they are asked with: such an answer goes first, then one of which that is not known, then others
        strict  only the first
        """
        given = [g for g in self.texts.get(prompt, []) if len(g[1]) >= samples and (g[0] == asked or not strict)]
        ranked = sorted(given, key=lambda g: (g[0] != asked, g[0] is not None))
        return ranked[0][1][:samples] if ranked else None

    def score(self, prefix: str, text: str, model: str | None = None) -> Score | None:
        """The score of a continuation by a model, or by whichever was the last to give one."""
        known = self.scores.get((prefix, text), {})
        return known.get(model) if model else next(reversed(known.values()), None)

    def append(self, lines: Iterable[dict[str, Any]]) -> None:
        """Take lines, and write them at the file's end at once. Raises DiskError."""
        lines = list(lines)
        try:
            with self.path.open("a", encoding="utf-8") as file:
                if self._whole and not self._whole.endswith(b"\n"):
                    file.write("\n")
                file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        except OSError as error:
            raise write_error(self.path, error) from None
        self._whole = b""
        for line in lines:
            self._take(line)

    def _take(self, line: dict[str, Any]) -> None:
        if "prefix" in line:
            score = Score(float(line["log_probability"]), int(line["tokens"]))
            self.scores.setdefault((_text(line["prefix"]), _text(line["continuation"])), {})[line.get("model")] = score
            return
        texts = [line["completion"]] if "completion" in line else list(line["completions"])
        settings = line.get("settings")
        if isinstance(line.get("completions"), str) or not isinstance(settings, dict | None):
            raise TypeError
        self.texts.setdefault(_text(line["prompt"]), []).append((settings, [_text(text) for text in texts]))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value
