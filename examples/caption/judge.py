"""How good candidates are: cosines under two encoders, and SPIPE against what somebody saw in the picture."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from fmcompress.errors import LanguageModelError
from fmcompress.language_model import ScriptedLanguageModel
from fmcompress.vision_language.visual_clues import (
    Clue,
    SceneGraph,
    VisualClues,
    filter_sentences,
    parse_graph,
    select,
    spipe,
    split_sentences,
)
from fmcompress.vision_language.visual_clues.synthesis import Settings, describe

Scores = dict[str, float]


class Remembering:
    """An encoder that embeds every text once: candidates share most of their sentences."""

    def __init__(self, encoder: Any) -> None:
        self.encoder, self.dim, self.identity = encoder, encoder.dim, encoder.identity
        self.logit_scale, self.logit_bias = encoder.logit_scale, encoder.logit_bias
        self.known: dict[str, Any] = {}

    def encode_text(self, texts: Sequence[str]) -> Any:
        """As the encoder does."""
        new = [text for text in dict.fromkeys(texts) if text not in self.known]
        if new:
            self.known.update(zip(new, self.encoder.encode_text(new), strict=True))
        return np.stack([self.known[text] for text in texts])

    def encode_images(self, images: Sequence[Any]) -> Any:
        """As the encoder does."""
        return self.encoder.encode_images(images)


class Judge:
    """Two encoders' view of one picture, and its human graph."""

    def __init__(self, encoders: Sequence[Any], picture: Image.Image, gold: SceneGraph) -> None:
        self.encoders, self.picture, self.gold = encoders, picture, gold
        self.clues = VisualClues(tags=(Clue("picture"),))  # of a prompt that nobody reads: the candidates are there
        self.vectors = [encoder.encode_images([picture])[0] for encoder in encoders]

    def look(self, candidates: Sequence[str]) -> list[dict[str, Any]]:
        """Of each candidate its cosines under both encoders, its sentences with their vectors, and SPIPE."""
        scores = [select(v, e.encode_text(candidates)).scores for v, e in zip(self.vectors, self.encoders, strict=True)]
        sentences = [split_sentences(text) for text in candidates]
        flat = [one for some in sentences for one in some]
        rows = np.split(self.encoders[0].encode_text(flat), np.cumsum([len(some) for some in sentences])[:-1])
        return [
            {"text": text, "own": float(a), "other": float(b), "sentences": some, "vectors": v, **self.spipe(text)}
            for text, a, b, some, v in zip(candidates, *scores, sentences, rows, strict=True)
        ]

    def spipe(self, text: str) -> Scores:
        """F1, precision and recall against the human graph."""
        found = spipe(parse_graph(text), self.gold)
        return {"f1": found.f1, "precision": found.precision, "recall": found.recall}

    def filtered(self, one: dict[str, Any], threshold: float) -> Scores:
        """SPIPE of a candidate's sentences that the first encoder lets pass, and how many these are."""
        found = filter_sentences(self.vectors[0], one["sentences"], one["vectors"], threshold)
        kept = sum(sentence.kept for sentence in found.sentences) / len(found.sentences)
        return {**self.spipe(found.paragraph), "kept": kept}

    def described(self, texts: Sequence[str]) -> Scores:
        """SPIPE of what `describe` makes of candidates, by its own choice of a threshold."""
        settings = Settings(candidates=len(texts))
        try:
            found = describe(self.picture, self.clues, self.encoders[0], ScriptedLanguageModel(texts), settings)
        except LanguageModelError:  # all are empty
            return {**self.spipe(""), "kept": 0.0}
        kept = sum(sentence.kept for sentence in found.sentences) / len(found.sentences)
        return {**self.spipe(found.paragraph), "kept": kept}
