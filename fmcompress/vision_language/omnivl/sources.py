"""What a command is given: a manifest of pairs, a folder of images and videos, or files of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError
from ...pairs import Pair, read_pairs, require_media
from .loaded import Medium, find_media, media_of


@dataclass(frozen=True)
class Found:
    """Media, and what a manifest says of each.

    pairs  one each of the media, in their order; empty if nothing is said
    """

    media: list[Medium]
    pairs: list[Pair]

    @property
    def labels(self) -> list[str | None]:
        """The names of classes that are given."""
        return [pair.label for pair in self.pairs] or [None] * len(self.media)

    @property
    def notes(self) -> list[str]:
        """What a user should know before believing what is measured over all of them."""
        train = sum(pair.split == "train" for pair in self.pairs)
        return [f"{train} of {len(self.pairs)} lines that are measured are of split train"] if train else []

    def some(self, split: str | None) -> "Found":
        """The pairs of one split."""
        pairs = [pair for pair in self.pairs if pair.split == split]
        return Found([Medium(pair.path, pair.video) for pair in pairs], pairs)


def find(sources: Sequence[Path], note: Callable[[str], None]) -> Found:
    """The pairs of a manifest (.jsonl), or the media of files and folders; a folder of frames is one video only when
    it stands in another folder.

    Raises CalibrationError or ConfigError for a source that is none.
    """
    if not sources:
        raise ConfigError("media: expected an image, a video, a folder or a manifest, got none.")
    manifests = [path for path in sources if path.suffix == ".jsonl"]
    if manifests and len(sources) > 1:
        raise ConfigError(f"{manifests[0]}: a manifest stands alone. Give it, or files and folders.")
    if manifests:
        pairs = read_pairs(manifests[0], note=note)
        require_media(pairs)
        return Found([Medium(pair.path, pair.video) for pair in pairs], pairs)
    media: list[Medium] = []
    for path in sources:
        media += find_media(path) if path.is_dir() else media_of([path])
    return Found(media, [])


def text_of(pair: Pair) -> str:
    """What is said of an image or video, as a text to find it by; a label is its own text."""
    if pair.question is not None:
        raise ConfigError(
            f"line {pair.line}: a question is no text to find an image by. Give lines with text or label."
        )
    return str(pair.text or pair.label)


def crossed(pairs: Sequence[Pair]) -> tuple[list[str], list[Medium], NDArray[np.bool_]]:
    """The different texts and media of pairs, and which belong together [texts, media]: all that some line says."""
    texts = {text: number for number, text in enumerate(dict.fromkeys(map(text_of, pairs)))}
    media = {one: number for number, one in enumerate(dict.fromkeys(Medium(p.path, p.video) for p in pairs))}
    right = np.zeros((len(texts), len(media)), bool)
    for pair in pairs:
        right[texts[text_of(pair)], media[Medium(pair.path, pair.video)]] = True
    return list(texts), list(media), right
