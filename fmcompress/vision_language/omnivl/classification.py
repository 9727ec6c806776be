"""Classes of images and of actions in videos: by the names of the classes, or by a probe on frozen embeddings."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...clip.linear_probe import LinearHead, linear_probe
from ...clip.vectors import Matrix
from ...clip.zero_shot import class_embeddings
from ...errors import ConfigError
from .data import TEMPLATES
from .loaded import Medium, OmniVL, Progress, silent


@dataclass(frozen=True)
class Classified:
    """The class of each image or video.

    numbers  [items] int64, places in classes
    scores   [items, classes]: cosines, or logits
    """

    classes: tuple[str, ...]
    numbers: NDArray[np.int64]
    scores: Matrix

    @property
    def names(self) -> list[str]:
        """Of each item."""
        return [self.classes[number] for number in self.numbers]

    def accuracy(self, labels: Sequence[str | None]) -> float | None:
        """Of the items that have a label; None if none has. Raises ConfigError for a label that is no class."""
        strange = sorted({label for label in labels if label is not None} - set(self.classes))
        if strange:
            raise ConfigError(f"labels: {strange[0]!r} is none of the {len(self.classes)} classes.")
        known = [(name == label) for name, label in zip(self.names, labels, strict=True) if label is not None]
        return float(np.mean(known)) if known else None


def zero_shot(
    model: OmniVL, media: Sequence[Medium], classes: Sequence[str], *, templates: Sequence[str] = (),
    progress: Progress = silent,
) -> Classified:  # fmt: skip
    """The class whose prompts are nearest to each image or video.

    templates  with a {} for the name; by default those of training, of images and of videos each their own
    """
    scores = np.empty((len(media), len(classes)), np.float32)
    embedded = model.embed_media(media, progress)
    for video in (False, True):
        rows = [row for row, medium in enumerate(media) if medium.video == video]
        if rows:
            prompts = class_embeddings(classes, templates or [TEMPLATES[video]], model.embed_texts)
            scores[rows] = embedded[rows] @ prompts.T
    return Classified(tuple(classes), scores.argmax(axis=1).astype(np.int64), scores)


def probe(
    model: OmniVL, media: Sequence[Medium], labels: Sequence[str], *, c: float | None = None, seed: int = 0,
    progress: Progress = silent,
) -> tuple[LinearHead, tuple[str, ...]]:  # fmt: skip
    """A linear classifier on the frozen embeddings of labelled images or videos, and the classes that it knows.

    c  inverse strength of regularisation; that of clip's linear_probe by default
    """
    classes = tuple(sorted(set(labels)))
    numbers = np.array([classes.index(label) for label in labels])
    return linear_probe(model.embed_media(media, progress), numbers, len(classes), c=c, seed=seed), classes


def classify_by_probe(
    model: OmniVL, head: LinearHead, classes: Sequence[str], media: Sequence[Medium], progress: Progress = silent
) -> Classified:
    """What a probe says of images or videos."""
    logits = head.logits(model.embed_media(media, progress))
    return Classified(tuple(classes), logits.argmax(axis=1), logits)
