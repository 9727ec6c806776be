"""A language model that counts what it is asked."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..language_model import LanguageModel, Score


@dataclass
class Counts:
    """What a model was asked for.

    generations    texts that it wrote
    words          in these
    prefixes       that continuations were scored after
    continuations  that it scored
    tokens         in these
    """

    generations: int = 0
    words: int = 0
    prefixes: int = 0
    continuations: int = 0
    tokens: int = 0

    def as_dict(self) -> dict[str, int]:
        """For JSON."""
        return asdict(self)


class CountingLanguageModel:
    """Asks another model, and counts."""

    def __init__(self, model: LanguageModel) -> None:
        self.model, self.name, self.counts = model, model.name, Counts()

    def generate(self, prompts: Sequence[str], **settings: Any) -> list[list[str]]:
        """See LanguageModel.generate."""
        found = self.model.generate(prompts, **settings)
        texts = [text for those in found for text in those]
        self.counts.generations += len(texts)
        self.counts.words += sum(len(text.split()) for text in texts)
        return found

    def score(self, prefix: str, continuations: Sequence[str]) -> list[Score]:
        """See LanguageModel.score."""
        found = self.model.score(prefix, continuations)
        self.counts.prefixes += 1
        self.counts.continuations += len(found)
        self.counts.tokens += sum(score.tokens for score in found)
        return found
