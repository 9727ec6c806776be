"""Language models that read their answers from a file, or write down those of another one."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import LanguageModelError
from .answers import AnswerFile, facts_of
from .protocol import LanguageModel, Score
from .settings import Settings

ASKED_AT_ONCE = 16


class FileLanguageModel:
    """Answers from a file, by the prompt to the letter: what a person or another program has answered.

    path  .jsonl, as AnswerFile has it. Prompts that it does not answer are written beside it, into NAME.missing.jsonl,
          with an empty list to fill in
    """

    def __init__(self, path: str | Path) -> None:
        self.path, self.name = Path(path), str(path)
        if not self.path.is_file():
            raise LanguageModelError(f"{path}: no such file. Give answers, one JSON line each, or a folder of a model.")
        self.answers = AnswerFile(self.path)

    @property
    def missing_path(self) -> Path:
        """The file of prompts without an answer."""
        return self.path.with_name(f"{self.path.stem}.missing.jsonl")

    def missing_prompts(self, prompts: Sequence[str], **settings: Any) -> list[str]:
        """Those of the prompts that the file does not answer, or with fewer samples; each once."""
        wanted = Settings(**settings)
        return [prompt for prompt in dict.fromkeys(prompts) if self._find(prompt, wanted) is None]

    def generate(self, prompts: Sequence[str], **settings: Any) -> list[list[str]]:
        """See LanguageModel.generate. Of several answers to a prompt that with equal settings is taken, then one of
        which no settings are known. All prompts without any are told at once.
        """
        wanted = Settings(**settings)
        missing = self.missing_prompts(prompts, **settings)
        if missing:
            self.missing_path.unlink(missing_ok=True)
            AnswerFile(self.missing_path).append({"prompt": prompt, "completions": []} for prompt in missing)
            raise LanguageModelError(
                f"{self.path}: answers {len(set(prompts)) - len(missing)} of {len(set(prompts))} prompts with "
                f"{wanted.different} texts each. The others stand in {self.missing_path}: fill them in and append them."
            )
        return [wanted.repeated([wanted.cut(text) for text in self._find(p, wanted) or []]) for p in prompts]

    def score(self, prefix: str, continuations: Sequence[str]) -> list[Score]:
        """See LanguageModel.score."""
        found = [self.answers.score(prefix, text) for text in continuations]
        if None in found:
            raise LanguageModelError(
                f"{self.path}: has no probability of {found.count(None)} of {len(found)} continuations after "
                f"{prefix[-40:]!r}. Record them with a model."
            )
        return [score for score in found if score]

    def _find(self, prompt: str, wanted: Settings) -> list[str] | None:
        asked = facts_of(wanted, self.name)
        return self.answers.find(prompt, wanted.different, asked, strict=False)


class Recorded:
    """A language model whose every answer is written to a file, and asked for only once.

    model  the one that answers
    path   .jsonl, to which answers are appended as they come: an interrupted run goes on where it was. What another
           model, or the same one with other settings, has answered there is asked again
    """

    def __init__(self, model: LanguageModel, path: str | Path) -> None:
        self.model, self.path, self.name = model, Path(path), model.name
        _drop_broken_line(self.path)
        self.answers = AnswerFile(self.path)

    def generate(self, prompts: Sequence[str], **settings: Any) -> list[list[str]]:
        """See LanguageModel.generate."""
        wanted = Settings(**settings)
        asked = facts_of(wanted, self.name)
        open_prompts = [prompt for prompt in dict.fromkeys(prompts) if self._find(prompt, wanted, asked) is None]
        for begin in range(0, len(open_prompts), ASKED_AT_ONCE):
            some = open_prompts[begin : begin + ASKED_AT_ONCE]
            found = self.model.generate(some, **settings)
            self.answers.append(
                {"prompt": prompt, "completions": texts[: wanted.different], "settings": asked}
                for prompt, texts in zip(some, found, strict=True)
            )
        return [wanted.repeated(self._find(prompt, wanted, asked) or []) for prompt in prompts]

    def score(self, prefix: str, continuations: Sequence[str]) -> list[Score]:
        """See LanguageModel.score."""
        unknown = [text for text in dict.fromkeys(continuations) if not self._score(prefix, text)]
        if unknown:
            self.answers.append(
                {"prefix": prefix, "continuation": text, **vars(score), "model": self.name}
                for text, score in zip(unknown, self.model.score(prefix, unknown), strict=True)
            )
        return [score for text in continuations if (score := self._score(prefix, text))]

    def _score(self, prefix: str, text: str) -> Score | None:
        return self.answers.score(prefix, text, self.name)

    def _find(self, prompt: str, wanted: Settings, asked: dict[str, Any]) -> list[str] | None:
        return self.answers.find(prompt, wanted.different, asked, strict=True)


def _drop_broken_line(path: Path) -> None:
    """Cut off what an interrupted run has left of its last line; a file that is none of answers stays as it is."""
    whole = path.read_bytes() if path.is_file() else b""
    last = whole.rfind(b"\n") + 1
    *before, rest = whole.split(b"\n")
    if rest.strip() and not _is_json(rest) and rest.startswith(b"{") and all(map(_is_json, filter(None, before))):
        path.write_bytes(whole[:last])


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True
