"""What compression does to a model of two towers: its embeddings, its classes, and its worst group."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigError
from .embedding_set import EmbeddingSet
from .groups import GroupReport, labelled_report
from .inputs import labels_of
from .vectors import as_matrix, normalised
from .zero_shot import predict

WEIGHTS = (".safetensors", ".bin", ".pt")  # endings of files of weights; a folder's first kind counts


@dataclass(frozen=True)
class Drift:
    """How far embeddings have moved: 1 - cosine to the dense model's, its mean and 95th percentile over the rows."""

    mean: float
    p95: float


@dataclass(frozen=True)
class ComparedModel:
    """One model on the same images and classes as the dense one.

    accuracy          of zero-shot, over the images with a label; None without labels
    groups            the same by group, or by class where no groups are known
    image_drift, text_drift  of images, and of the classes' embeddings
    agreement         share of the images that get the class which the dense model gives them
    checkpoint_bytes  of its files of weights
    """

    model: str
    accuracy: float | None
    groups: GroupReport | None
    image_drift: Drift
    text_drift: Drift
    agreement: float
    checkpoint_bytes: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        drifts = {"image_drift": vars(self.image_drift), "text_drift": vars(self.text_drift)}
        return {**vars(self), **drifts, "groups": None if self.groups is None else self.groups.as_dict()}


def drift(dense: Any, other: Any) -> Drift:
    """How far the rows of a matrix are from those of another, both [rows, dim] with rows of length 1.

    Half the squared distance is 1 - cosine, without what is lost where two numbers near 1 are subtracted: equal rows
    have exactly 0. Raises ConfigError if the shapes differ, or for rows of another length.
    """
    dense, other = as_matrix(dense, "dense embeddings"), as_matrix(other, "compressed embeddings")
    if dense.shape != other.shape or not len(dense):
        raise ConfigError(f"compressed embeddings: expected {list(dense.shape)}, got {list(other.shape)}.")
    moved = np.empty(len(dense))
    for begin in range(0, len(dense), 8192):
        part = slice(begin, begin + 8192)
        apart = normalised(dense[part].astype(np.float64)) - normalised(other[part].astype(np.float64))
        moved[part] = 0.5 * np.einsum("ij,ij->i", apart, apart)
    return Drift(float(moved.mean()), float(np.percentile(moved, 95)))


def compare_embeddings(
    model: str, images: EmbeddingSet, text: EmbeddingSet, dense: tuple[EmbeddingSet, EmbeddingSet], size: int = 0
) -> ComparedModel:
    """One model held against the dense one by their embeddings alone.

    images, text  of the model: the same items, in the same order, as those of `dense`, which is (images, text)
    size          bytes of the checkpoint

    Raises ConfigError if the models embed into spaces of other widths, or labels do not fit.
    """
    expected, got = dense[0].vectors.shape[1], images.vectors.shape[1]
    if expected != got:
        raise ConfigError(f"{model}: expected embeddings of {expected} numbers as of the dense model, got {got}.")
    found, before = predict(images.vectors, text.vectors), predict(dense[0].vectors, dense[1].vectors)
    labels, groups = labels_of(images, text), None
    if labels is not None and (labels >= 0).any():
        groups = labelled_report(labels, found, images.groups, text.names, images.group_names)
    return ComparedModel(
        model,
        None if groups is None else groups.average,
        groups,
        drift(dense[0].vectors, images.vectors),
        drift(dense[1].vectors, text.vectors),
        float((found == before).mean()),
        size,
    )


def compare_models(
    models: Sequence[Path], embed: Callable[[Path], tuple[EmbeddingSet, EmbeddingSet]]
) -> list[ComparedModel]:
    """Compressed models held against the dense one, which is the first, on the same images and classes.

    embed  gives the images and classes of a model's folder; called once for each, one after the other

    Raises ConfigError for a single model, and where models or labels do not fit each other.
    """
    if len(models) < 2:
        raise ConfigError("MODEL: expected the dense model and at least one compressed, got one. Add another folder.")
    dense = embed(models[0])
    compared = [compare_embeddings(str(models[0]), *dense, dense, weight_file_bytes(models[0]))]
    for folder in models[1:]:
        images, text = embed(folder)
        compared.append(compare_embeddings(str(folder), images, text, dense, weight_file_bytes(folder)))
    return compared


def weight_file_bytes(folder: Path) -> int:
    """Bytes of a checkpoint's files of weights."""
    for ending in WEIGHTS:
        sizes = [path.stat().st_size for path in folder.glob(f"*{ending}")]
        if sizes:
            return sum(sizes)
    return 0
