"""From what a command is given to what a prompt is tuned with: prompts of a loaded model, pixels, who has labels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from ..errors import ConfigError
from .batches import as_image
from .embedding_set import EmbeddingSet
from .prompt_models import LinearPrompt, Prompt, TextPrompt, VisualPrompt
from .pseudolabel_config import Paradigm
from .pseudolabels import seen_unseen_split
from .siglip_text import SIGLIP, canonicalised
from .towers import TextTower, VisionTower
from .transformers_encoder import TransformersEncoder
from .unified_prompt import UnifiedPrompt
from .vectors import Labels

Modality = Literal["text", "image", "multimodal", "linear"]
VECTORS = {"text": 16, "image": 16, "multimodal": 4}  # in the released code; of multimodal ones, in each tower
SCALE = 100.0  # where nobody knows the model's own, that of CLIP


def make_prompt(
    modality: Modality, text: EmbeddingSet, encoder: Any = None, vectors: int | None = None, device: str = "cpu"
) -> Prompt:
    """A prompt that is not trained yet.

    text     the classes, embedded by templates; names are those of the rows
    encoder  the TransformersEncoder of the model; a linear prompt needs none. It is frozen, its weights stay
    vectors  in each tower; 16, or 4 for multimodal ones

    Raises ConfigError for another modality, or a model that is neither CLIP nor SigLIP.
    """
    if modality not in get_args(Modality):
        raise ConfigError(f"modality: expected one of {', '.join(get_args(Modality))}, got {modality!r}.")
    scale = SCALE if text.logit_scale is None else text.logit_scale
    if modality == "linear":
        return LinearPrompt(text.vectors, scale, device)
    if not isinstance(encoder, TransformersEncoder):
        raise ConfigError(f"modality: {modality} needs a model of transformers. Give one, or use linear.")
    if text.identity and text.identity != encoder.identity:
        raise ConfigError("text: expected embeddings of the model. Embed the classes by it, or give that model.")
    count = VECTORS[modality] if vectors is None else vectors
    if modality == "image":
        return VisualPrompt(text.vectors, scale, VisionTower(encoder.model), count)
    words = TextTower(encoder.model, class_tokens(encoder, text.names), count)
    if modality == "text":
        return TextPrompt(text.vectors, scale, words)
    return UnifiedPrompt(text.vectors, scale, words, VisionTower(encoder.model), count)


def class_tokens(encoder: TransformersEncoder, names: Sequence[str]) -> Tensor:
    """[classes, tokens] int64 of the classes' names alone, padded as the model reads its texts."""
    siglip = encoder.family in SIGLIP
    texts = [canonicalised(name) if siglip else name.replace("_", " ") for name in names]
    padding: Any = "max_length" if siglip else True
    given = encoder.tokenizer(
        texts, padding=padding, max_length=encoder.max_tokens, truncation=True, return_tensors="pt"
    )
    return given["input_ids"]


def read_pixels(encoder: Any, paths: Sequence[Path], progress: Callable[[int, int], None] | None = None) -> Tensor:
    """[images, channels, height, width] in the model's dtype: all of them in memory, as training goes over them often.

    encoder  the TransformersEncoder of the model

    Raises ConfigError that names a file that is no image, or if images come out of the processor in several sizes.
    """
    step, parts = encoder.batch_size, list[Tensor]()
    for begin in range(0, len(paths), step):
        images = [as_image(path) for path in paths[begin : begin + step]]
        pixels = encoder.processor(images=images, return_tensors="pt")["pixel_values"]
        if not isinstance(pixels, Tensor) or (parts and pixels.shape[1:] != parts[0].shape[1:]):
            raise ConfigError(f"{paths[begin]}: expected pixels of one size from the model's processor.")
        parts.append(pixels.to(encoder.dtype))
        if progress:
            progress(min(begin + step, len(paths)), len(paths))
    return torch.cat(parts)


@dataclass(frozen=True)
class Parts:
    """Rows [..] int64 of a set of images by what they are for, and the seen classes of "trzsl"."""

    unlabelled: Labels
    labelled: Labels
    test: Labels
    seen: tuple[int, ...] | None = None


def partition(
    labels: Labels | None,
    splits: Sequence[str],
    rows: int,
    classes: int,
    paradigm: Paradigm,
    *,
    shots: int | None = None,
    split_seed: int | None = None,
    seed: int = 0,
) -> Parts:
    """Who is trained on with a label, who without, and who is measured on: the rows of split "test", if they have one.

    labels      [rows] int64, -1 where unknown; None if nothing is known
    splits      of each row; empty: all are trained on. Rows of "val" are left out
    shots       in "ssl", so many labels a class are used, drawn by the seed; None: all that there are
    split_seed  in "trzsl", hide the labels of the classes that seen_unseen_split leaves; None: the unseen classes are
                those that no row has a label of

    Raises ConfigError if a paradigm has not what it needs.
    """
    known = np.full(rows, -1) if labels is None else np.asarray(labels)
    place = np.array(splits) if splits else np.full(rows, "train")
    training, test = np.flatnonzero(place == "train"), np.flatnonzero((place == "test") & (known >= 0))
    if not len(training):
        raise ConfigError("images: none is to train on. Name some in the column split of the labels: train.")
    if shots is not None and paradigm != "ssl":
        raise ConfigError(f"shots: goes with ssl, got {paradigm}. Leave it out.")
    if paradigm == "ul":
        return Parts(training, training[:0], test)
    has = training[known[training] >= 0]
    if not len(has):
        raise ConfigError(f"labels: {paradigm} needs some, and no image to train on has one. Give some, or use ul.")
    if paradigm == "ssl":
        used = has if shots is None else _shots(has, known, classes, shots, np.random.default_rng(seed))
        rest = np.setdiff1d(training, used)
        if not len(rest):
            raise ConfigError("labels: every image to train on has one. Say with shots how many a class to use.")
        return Parts(rest, used, test)
    if split_seed is None:
        seen = tuple(int(number) for number in np.unique(known[has]))
        rest = np.setdiff1d(training, has)
    else:
        unknown = len(training) - len(has)
        if unknown:
            raise ConfigError(
                f"labels: {unknown} of {len(training)} images to train on have none, so that nobody knows whether a "
                "split seed hides their class. Label them, or leave them out."
            )
        seen = seen_unseen_split(classes, split_seed)[0]
        rest = np.setdiff1d(has, has[np.isin(known[has], seen)])
    if not len(rest):
        raise ConfigError("labels: no image to train on is of an unseen class. Hide some classes with a split seed.")
    return Parts(rest, has[np.isin(known[has], seen)], test, tuple(sorted(seen)))


def _shots(has: Labels, known: Labels, classes: int, shots: int, rng: np.random.Generator) -> Labels:
    if shots < 1:
        raise ConfigError(f"shots: expected at least 1 label a class, got {shots}.")
    drawn = []
    for number in range(classes):
        rows = has[known[has] == number]
        if len(rows) < shots:
            raise ConfigError(f"shots: expected {shots} labels of each class, got {len(rows)} of class {number}.")
        drawn.append(rng.choice(rows, shots, replace=False))
    return np.sort(np.concatenate(drawn))
