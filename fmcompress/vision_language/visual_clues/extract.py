"""Stage 1 of BEST: all clues of an image that the models at hand, and somebody's file, have."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...clip.encoders import Encoder
from ...errors import ConfigError
from .captions import Captioner
from .clues import Clue, DetectedObject, VisualClues
from .detect import ObjectDetector
from .position import area_of
from .tags import Vocabulary, crop, retrieve_tags, tag_objects


@dataclass(frozen=True)
class Extractor:
    """Where clues come from; each source may be missing.

    vocabulary        words for tags; a detector of words looks for the tags that were found
    attributes        words for the crops of objects
    detector          of objects
    captioner         of the image, and of its largest objects
    tags              of an image, at most
    attributes_each   of an object, at most
    threshold         the lowest cosine of tags and attributes; None takes the best whatever they are
    captioned_objects how many objects are captioned, too
    name_objects      by the vocabulary, as the paper tags crops, in the place of the detector's names

    Raises ConfigError for what needs a source that is missing.
    """

    vocabulary: Vocabulary | None = None
    attributes: Vocabulary | None = None
    detector: ObjectDetector | None = None
    captioner: Captioner | None = None
    tags: int = 10
    attributes_each: int = 3
    threshold: float | None = None
    captioned_objects: int = 0
    name_objects: bool = False

    def __post_init__(self) -> None:
        if self.name_objects and (self.vocabulary is None or self.detector is None):
            raise ConfigError("name objects: needs a vocabulary and a detector. Give both, or leave it out.")
        if self.captioned_objects and self.captioner is None:
            raise ConfigError("captioned objects: need a captioner. Give one, or leave them out.")
        if self.detector is not None and self.detector.takes_words and self.vocabulary is None:
            raise ConfigError(f"{self.detector.folder}: looks for words. Give a vocabulary.")

    def clues(self, image: Any, encoder: Encoder, given: VisualClues | None = None) -> VisualClues:
        """The clues of an image: given ones first, as they are, then what was found and is not given already.

        image   a file, or Pillow's
        given   its objects get attributes and captions of the models where they have none

        Raises ConfigError for what is no image, and what the models raise.
        """
        from ...clip.batches import as_image  # of torch

        given, opened = given or VisualClues(), as_image(image)
        tags = self._tags(image, encoder)
        words = [clue.text for clue in tags]
        blind = self.detector is None or (self.detector.takes_words and not words)  # the threshold has left no tag
        found = () if self.detector is None or blind else self.detector.detect(opened, words)
        objects = [
            *self._tagged(given.objects, opened, encoder, None),
            *self._tagged(found, opened, encoder, self.vocabulary if self.name_objects else None),
        ]
        captions: tuple[Clue, ...] = ()
        if self.captioner is not None:
            chosen = [at for at in _largest(objects, self.captioned_objects) if not objects[at].captions]
            texts = self.captioner.captions([opened, *(crop(opened, objects[at].box) for at in chosen)])
            captions = _written(texts[0])
            for at, text in zip(chosen, texts[1:], strict=True):
                objects[at] = replace(objects[at], captions=_written(text))
        return VisualClues(_joined(given.tags, tags), tuple(objects), _joined(given.captions, captions))

    def _tags(self, image: Any, encoder: Encoder) -> tuple[Clue, ...]:
        if self.vocabulary is None:
            return ()
        vector = encoder.encode_images([image])[0]
        return retrieve_tags(vector, self.vocabulary.vectors, self.vocabulary.names, self.tags, self.threshold)

    def _tagged(
        self, objects: Sequence[DetectedObject], image: Any, encoder: Encoder, names: Vocabulary | None
    ) -> list[DetectedObject]:
        """Objects with attributes where they have none, and names of the vocabulary where one is given."""
        bare = [at for at, one in enumerate(objects) if not one.attributes]
        found = list(objects)
        if bare and (self.attributes is not None or names is not None):
            crops = encoder.encode_images([crop(image, objects[at].box) for at in bare])
            some = [objects[at] for at in bare]
            tagged = tag_objects(some, crops, self.attributes, names, self.attributes_each, self.threshold)
            for at, one in zip(bare, tagged, strict=True):
                found[at] = one
        return found


def _largest(objects: Sequence[DetectedObject], count: int) -> list[int]:
    return sorted(range(len(objects)), key=lambda at: -area_of(objects[at].box))[:count]


def _written(text: str) -> tuple[Clue, ...]:
    return (Clue(text),) if text else ()


def _joined(first: tuple[Clue, ...], more: tuple[Clue, ...]) -> tuple[Clue, ...]:
    known = {clue.text.casefold() for clue in first}
    return first + tuple(clue for clue in more if clue.text.casefold() not in known)
