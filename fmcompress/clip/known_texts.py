"""Texts whose embeddings lie in a file: what an encoder is to a command that has none."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from ..errors import ConfigError
from .embedding_set import EmbeddingSet
from .vectors import Matrix


class KnownTexts:
    """Gives the rows of a set whose names are texts, as they were embedded.

    found  a set with names; where a text stands there twice, its first row counts
    where  the file, for errors
    """

    def __init__(self, found: EmbeddingSet, where: str | Path) -> None:
        if not found.names:
            raise ConfigError(f"{where}: its rows have no names. Embed the texts with fmcompress clip embed.")
        self.found, self.where = found, where
        self.rows = {name: row for row, name in reversed(list(enumerate(found.names)))}

    def missing(self, texts: Iterable[str]) -> list[str]:
        """Those of the texts that are not there, each once."""
        return [text for text in dict.fromkeys(texts) if text not in self.rows]

    def __call__(self, texts: Sequence[str]) -> Matrix:
        """[texts, dim]. Raises ConfigError that tells how many texts are not there."""
        missing = self.missing(texts)
        if missing:
            raise ConfigError(
                f"{self.where}: {len(missing)} of {len(set(texts))} texts are not in it, such as {missing[0]!r}. "
                "Write the texts with --out-prompts, and embed them."
            )
        return self.found.vectors[[self.rows[text] for text in texts]]
