"""What OmniVL is trained on: images or videos and what is said of each, batch by batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import CalibrationError, ConfigError
from ...pairs import Pair, class_names
from .inputs import OmniVLInputs

CAPTION, LABEL, QUESTION = range(3)  # kinds of items
TEMPLATES = ("a photo of a {}", "a video of {}")  # of the name of an image's and of a video's class
KEPT_BYTES = 1 << 30  # of pixels that ManifestPairs keeps


@dataclass(frozen=True)
class Said:
    """What is said of items.

    ids, mask      [items, tokens] captions, prompts of classes, or questions: [CLS] … [SEP]
    kinds          [items] CAPTION, LABEL or QUESTION
    labels         [items] int64 y of UniVLC: the class of a labelled item, else a number of the image or video alone
    own            [items] int64 numbers of images and videos: y where classes are not to be known
    answers, answers_mask  [items, tokens] of questions; of no width if there are none
    """

    ids: Tensor
    mask: Tensor
    kinds: Tensor
    labels: Tensor
    own: Tensor
    answers: Tensor
    answers_mask: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Tensor) -> "Said":
        """Some items, without padding that none of them needs."""
        taken = Said(*(getattr(self, field.name)[rows] for field in fields(self)))
        width, answer = (int(mask.sum(dim=1).max()) if len(rows) else 0 for mask in (taken.mask, taken.answers_mask))
        return replace(
            taken, ids=taken.ids[:, :width], mask=taken.mask[:, :width],
            answers=taken.answers[:, :answer], answers_mask=taken.answers_mask[:, :answer],
        )  # fmt: skip

    def to(self, device: torch.device) -> "Said":
        """The same on a device."""
        return Said(*(getattr(self, field.name).to(device) for field in fields(self)))


@dataclass(frozen=True)
class Batch:
    """Items to learn from, all images or all videos.

    pixels  [items, 3, height, width] or [items, frames, 3, height, width]
    """

    pixels: Tensor
    said: Said

    def to(self, device: torch.device) -> "Batch":
        """The same on a device."""
        return Batch(self.pixels.to(device), self.said.to(device))


class Dataset(Protocol):
    """Items by their numbers. videos [items] bool tells which are videos; a batch never mixes both."""

    videos: NDArray[np.bool_]

    def __len__(self) -> int: ...

    def batch(self, rows: NDArray[np.int64]) -> Batch:
        """Items of those numbers, all images or all videos."""
        ...


def said_of(
    inputs: OmniVLInputs, texts: Sequence[str], *, labels: Sequence[int | None] | None = None,
    answers: Mapping[int, str] | None = None, own: Sequence[int] | None = None,
) -> Said:  # fmt: skip
    """Tokens of texts, one an item.

    texts    captions, prompts of classes, questions
    labels   number of the class of items that have one, None for others
    answers  of those items whose text is a question
    own      numbers of images and videos, equal where several texts are of one; by default all differ
    """
    given = list(labels) if labels is not None else [None] * len(texts)
    numbers = list(own) if own is not None else list(range(len(texts)))
    answers = answers or {}
    if not texts or not len(given) == len(numbers) == len(texts):
        raise ConfigError(
            f"texts, labels, own: expected one each an item, got {len(texts)}, {len(given)}, {len(numbers)}."
        )
    classes = 1 + max((label for label in given if label is not None), default=-1)
    kinds = [QUESTION if row in answers else CAPTION if label is None else LABEL for row, label in enumerate(given)]
    ids, mask = inputs.tokens(texts)
    if answers:
        answer, answer_mask = inputs.tokens([answers.get(row, "") for row in range(len(texts))])
    else:
        answer = answer_mask = torch.zeros(len(texts), 0, dtype=torch.int64)
    labelled = [classes + number if label is None else label for label, number in zip(given, numbers, strict=True)]
    return Said(
        ids, mask, torch.tensor(kinds), torch.tensor(labelled), torch.tensor(numbers), answer, answer_mask,
    )  # fmt: skip


class TensorPairs:
    """Items in memory: images first, then videos.

    images  [images, 3, height, width], or None
    videos  [videos, frames, 3, height, width], or None
    said    of all of them, in that order

    Pixels are as the model takes them, or uint8, which becomes -1 … 1 when it is used, as make_inputs() prepares it.
    """

    def __init__(self, said: Said, images: Tensor | None = None, videos: Tensor | None = None) -> None:
        self.said, self.images, self._videos = said, images, videos
        counts = [0 if one is None else len(one) for one in (images, videos)]
        if sum(counts) != len(said):
            raise ConfigError(f"said: expected {sum(counts)} items as of images and videos, got {len(said)}.")
        self.videos = np.arange(len(said)) >= counts[0]

    def __len__(self) -> int:
        return len(self.said)

    def batch(self, rows: NDArray[np.int64]) -> Batch:
        """See Dataset."""
        of, numbers = torch.from_numpy(rows), torch.from_numpy(rows)
        if _are_videos(self.videos, rows):
            source, of = self._videos, of - (len(self) - int(self.videos.sum()))
        else:
            source = self.images
        assert source is not None
        pixels = source[of]
        return Batch(pixels.float() / 127.5 - 1 if pixels.dtype == torch.uint8 else pixels, self.said.take(numbers))


class ManifestPairs:
    """Items of a manifest, read from their files when they are wanted, and kept as long as there is room.

    inputs     of the model that is trained
    frames     of a video; the model's by default
    templates  of an image's and of a video's class, with a {} for its name
    kept_bytes of pixels that are kept in memory at most, so that files are read once
    """

    def __init__(
        self, pairs: Sequence[Pair], inputs: OmniVLInputs, *, frames: int | None = None,
        templates: tuple[str, str] = TEMPLATES, kept_bytes: int = KEPT_BYTES,
    ) -> None:  # fmt: skip
        self.pairs, self.inputs, self.frames = list(pairs), inputs, frames
        self.videos = np.array([pair.video for pair in pairs], dtype=bool)
        self.classes = class_names(pairs)
        places: dict[Path, int] = {}
        self._media = [places.setdefault(pair.path, len(places)) for pair in pairs]
        numbers = {name: number for number, name in enumerate(self.classes)}
        self.said = said_of(
            inputs,
            [_text_of(pair, templates) for pair in pairs],
            labels=[None if pair.label is None else numbers[pair.label] for pair in pairs],
            answers={row: pair.answer for row, pair in enumerate(pairs) if pair.answer is not None},
            own=self._media,
        )
        self._kept: dict[tuple[int, bool], Tensor] = {}
        self._room = kept_bytes

    def __len__(self) -> int:
        return len(self.pairs)

    def batch(self, rows: NDArray[np.int64]) -> Batch:
        """See Dataset. Raises CalibrationError for a file that cannot be read."""
        video = _are_videos(self.videos, rows)
        pixels = torch.stack([self._pixels(int(row), video) for row in rows])
        return Batch(pixels, self.said.take(torch.from_numpy(rows)))

    def _pixels(self, row: int, video: bool) -> Tensor:
        key = self._media[row], video
        if key in self._kept:
            return self._kept[key]
        path = self.pairs[row].path
        pixels = self.inputs.video(path, self.frames) if video else self.inputs.image(path)
        if pixels.nbytes <= self._room:
            self._room -= pixels.nbytes
            self._kept[key] = pixels
        return pixels


def _text_of(pair: Pair, templates: tuple[str, str]) -> str:
    if pair.label is not None:
        return templates[pair.video].replace("{}", pair.label)
    return pair.text if pair.text is not None else str(pair.question)


def _are_videos(videos: NDArray[np.bool_], rows: NDArray[np.int64]) -> bool:
    kinds = set(videos[rows].tolist())
    if len(kinds) != 1:
        raise CalibrationError("rows: expected items that are all images or all videos. Draw them one kind at a time.")
    return bool(kinds.pop())
