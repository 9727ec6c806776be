"""What stage 1 of BEST knows of an image: tags, objects with attributes and places, captions."""

from dataclasses import dataclass

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Clue:
    """Words about an image or a part of it.

    score  cosine of image and text, or a detector's confidence; None where somebody wrote the words
    """

    text: str
    score: float | None = None


@dataclass(frozen=True)
class DetectedObject:
    """Something in an image.

    name        with its score
    box         left, top, right, bottom as shares of the image's width and height, in [0, 1]
    attributes  such as "red" or "wooden", by falling score
    captions    of the region
    """

    name: Clue
    box: Box
    attributes: tuple[Clue, ...] = ()
    captions: tuple[Clue, ...] = ()


@dataclass(frozen=True)
class VisualClues:
    """All clues of an image, each list by falling score."""

    tags: tuple[Clue, ...] = ()
    objects: tuple[DetectedObject, ...] = ()
    captions: tuple[Clue, ...] = ()
