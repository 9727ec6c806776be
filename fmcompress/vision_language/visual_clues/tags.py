"""Tags by retrieval: the words of a vocabulary that an image, or a part of one, is nearest to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...clip.lists import read_names
from ...clip.vectors import Matrix, as_matrix
from ...clip.zero_shot import class_embeddings
from ...errors import ConfigError
from .clues import Box, Clue, DetectedObject
from .selection import cosines

OBJECT_TEMPLATE = "a photo of a {}."
ATTRIBUTE_TEMPLATE = "a photo of something {}."
EncodeText = Callable[[Sequence[str]], Matrix]


@dataclass(frozen=True)
class Vocabulary:
    """Words and their embeddings [words, dim], rows of length 1."""

    names: tuple[str, ...]
    vectors: Matrix

    def __post_init__(self) -> None:
        rows = len(as_matrix(self.vectors, "vocabulary"))
        if rows != len(self.names):
            raise ConfigError(f"vocabulary: expected a row for each of {len(self.names)} words, got {rows}.")

    @classmethod
    def embedded(
        cls, words: Path | Sequence[str], encode_text: EncodeText, template: str = OBJECT_TEMPLATE
    ) -> "Vocabulary":
        """Words, or a file of them (.txt, one a line, or .json), embedded in a template with a {} for the word.

        Raises ConfigError for no words, doubled ones, or a template without its place.
        """
        names = read_names(words) if isinstance(words, str | Path) else tuple(words)
        return cls(names, class_embeddings(names, [template], encode_text))


def retrieve_tags(
    image_vector: Any, vocabulary_vectors: Any, names: Sequence[str], k: int = 10, threshold: float | None = None
) -> tuple[Clue, ...]:
    """The k words of the highest cosine with an image, by falling cosine; of equal ones the first in the vocabulary.

    image_vector        [dim]
    vocabulary_vectors  [words, dim], in the order of names
    k                   fewer are found where the vocabulary has no more, or the threshold leaves no more
    threshold           only words whose cosine reaches it; None takes the best whatever their cosines are

    Raises ConfigError for other shapes, numbers that are not finite, another number of names, or k below 1.
    """
    if k < 1:
        raise ConfigError(f"k: expected at least 1 tag, got {k}.")
    scores = cosines(image_vector, vocabulary_vectors, "vocabulary")
    if len(names) != len(scores):
        raise ConfigError(f"names: expected {len(scores)}, one a row of the vocabulary, got {len(names)}.")
    best = np.argsort(-scores, kind="stable")[:k].tolist()
    found = (Clue(names[row], float(scores[row])) for row in best)
    return tuple(clue for clue in found if threshold is None or (clue.score or 0.0) >= threshold)


def tag_objects(
    objects: Sequence[DetectedObject],
    crops: Any,
    attributes: Vocabulary | None = None,
    names: Vocabulary | None = None,
    k: int = 3,
    threshold: float | None = None,
) -> tuple[DetectedObject, ...]:
    """The objects with attributes, and names, of vocabularies that their crops are nearest to.

    crops       [objects, dim]: what the encoder of the vocabularies makes of `crop`
    attributes  the k best follow those that an object has, without repeating them
    names       the best word replaces the detector's; None leaves names as they are

    Raises ConfigError as retrieve_tags does, and for another number of crops.
    """
    vectors = np.asarray(crops)
    if len(vectors) != len(objects):
        raise ConfigError(f"crops: expected {len(objects)} rows, one an object, got {len(vectors)}.")
    found = []
    for one, vector in zip(objects, vectors, strict=True):
        if names is not None:
            one = replace(one, name=retrieve_tags(vector, names.vectors, names.names, 1)[0])
        if attributes is not None:
            known = {clue.text for clue in one.attributes}
            new = retrieve_tags(vector, attributes.vectors, attributes.names, k, threshold)
            one = replace(one, attributes=one.attributes + tuple(clue for clue in new if clue.text not in known))
        found.append(one)
    return tuple(found)


def crop(image: Any, box: Box) -> Any:
    """The part of Pillow's image in a box of shares, at least one pixel of it."""
    (width, height), (left, top, right, bottom) = image.size, box
    x, y = min(int(left * width), width - 1), min(int(top * height), height - 1)
    return image.crop((x, y, max(x + 1, round(right * width)), max(y + 1, round(bottom * height))))
