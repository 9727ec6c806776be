"""A run of `fmcompress clip pseudolabel`: from images and classes to a tuned prompt, and what is told of it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..devices import pick_device
from ..errors import ConfigError
from .embedding_set import EmbeddingSet
from .grip import Observer, fit
from .inputs import Inputs, labels_of
from .predictions import Predictions
from .prompt_inputs import Modality, Parts, make_prompt, partition, read_pixels
from .prompt_models import Prompt
from .prompt_training import scores
from .pseudolabel_config import PseudolabelConfig
from .tuned import Tuned, as_images


@dataclass(frozen=True)
class Run:
    """What came of it.

    images, text  that it was given, embedded
    labels        [rows] int64 of the images as rows of the text, -1 where unknown; None if nothing is known
    parts         what each image was for
    data          the images as the prompt takes them
    """

    modality: Modality
    tuned: Tuned
    images: EmbeddingSet
    text: EmbeddingSet
    labels: Any
    parts: Parts
    data: Any

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        tuned, parts = self.tuned, self.parts
        last = tuned.history[-1].evaluation
        return {
            "modality": self.modality,
            **asdict(tuned.config),
            "lr": tuned.model.lr if tuned.config.lr is None else tuned.config.lr,
            "classes": list(tuned.classes),
            "seen": None if tuned.seen is None else [tuned.classes[number] for number in tuned.seen],
            "unlabelled": len(parts.unlabelled),
            "labelled": len(parts.labelled),
            "test": len(parts.test),
            "zero_shot": None if tuned.zero_shot is None else vars(tuned.zero_shot),
            "tuned": None if last is None else vars(last),
            "history": [one.as_dict() for one in tuned.history],
        }

    def predictions(self) -> Predictions:
        """The tuned prompt's class of each image, trained on or not, and its cosine."""
        model = self.tuned.model
        assert isinstance(model, Prompt)
        given, every = as_images(model, self.data, "images"), torch.arange(model.class_count, device=model.device)
        best, predicted = (one.cpu().numpy()[:, None] for one in scores(model, given, every).max(dim=1))
        names = self.images.names or tuple(str(row) for row in range(len(self.images)))
        return Predictions(
            names,
            self.tuned.classes,
            predicted,
            best / model.logit_scale,
            self.labels,
            self.images.groups,
            self.images.group_names,
            self.images.splits,
        )

    def text_embeddings(self) -> EmbeddingSet:
        """The tuned classes: `fmcompress clip zeroshot --text` takes them. Raises ConfigError as Tuned does."""
        return replace(self.text, vectors=self.tuned.text_embeddings())


def tune(
    inputs: Inputs,
    source: Path,
    text: EmbeddingSet,
    modality: Modality,
    config: PseudolabelConfig,
    *,
    labels: Path | None = None,
    shots: int | None = None,
    split_seed: int | None = None,
    vectors: int | None = None,
    observer: Observer | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Run:
    """Tune a prompt on the images of a file or folder. Raises what reading, make_prompt, partition and fit raise."""
    if modality in ("image", "multimodal") and not source.is_dir():
        raise ConfigError(f"{source}: expected a folder of images, as {modality} prompts train through the images.")
    images = inputs.images(source, labels)
    known = labels_of(images, text)
    parts = partition(
        known, images.splits, len(images), len(text), config.paradigm,
        shots=shots, split_seed=split_seed, seed=config.seed,
    )  # fmt: skip
    encoder = None if modality == "linear" else inputs.encoder
    prompt = make_prompt(modality, text, encoder, vectors, str(pick_device(inputs.device)))
    data: Any = images.vectors
    if prompt.takes == "pixels":
        data = read_pixels(inputs.encoder, [source / name for name in images.names], progress)
    whole = known is not None and bool((known[parts.unlabelled] >= 0).all())
    tuned = fit(
        prompt,
        data[parts.unlabelled],
        text.names,
        config,
        labelled=data[parts.labelled] if len(parts.labelled) else None,
        labels=known[parts.labelled] if known is not None and len(parts.labelled) else None,
        seen=parts.seen,
        truth=known[parts.unlabelled] if known is not None and whole else None,
        evaluate=(data[parts.test], known[parts.test]) if known is not None and len(parts.test) else None,
        observer=observer,
    )
    return Run(modality, tuned, images, text, known, parts, np.asarray(data) if prompt.takes == "embeddings" else data)
