"""What a classifier is worth: on rows of a split, with and without groups, one or several beside each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigError
from .confidence import Head, calibration_error, probabilities
from .embedding_set import EmbeddingSet
from .groups import GroupReport
from .predictions import (
    Predictions,
    count_groups,
    read_group_counts,
    read_predictions,
    zero_shot_predictions,
)  # fmt: skip
from .vectors import Labels
from .zero_shot import top_k_accuracy

CHUNK_ROWS = 1024


@dataclass(frozen=True)
class ZeroShotEvaluation:
    """Of a zero-shot classifier.

    report             None without labels
    top_k_accuracy     of the k classes that were asked for
    calibration_error  of softmax with the model's own scale, of sigmoid where it has a bias; None without labels, or if
                       the scale is not known
    """

    predictions: Predictions
    report: GroupReport | None
    split: str
    top_k: int
    top_k_accuracy: float | None
    calibration_error: float | None
    notes: list[str]

    def as_dict(self) -> dict[str, Any]:
        """For JSON; predictions are for a file of their own."""
        kept = ("split", "top_k", "top_k_accuracy", "calibration_error", "notes")
        report = None if self.report is None else self.report.as_dict()
        rows = {"rows": len(self.predictions.predicted), "unlabelled": self.predictions.unlabelled}
        return {**rows, "classes": len(self.predictions.classes), "report": report} | {
            key: getattr(self, key) for key in kept
        }


def zero_shot_evaluation(
    images: EmbeddingSet,
    text: EmbeddingSet,
    *,
    split: str | None = None,
    k: int = 1,
    train_labels: Path | None = None,
) -> ZeroShotEvaluation:
    """Classify images by their nearest text and, where labels are known, count.

    split         rows to take: train, val, test or all; None is test where there are rows of it, else all
    train_labels  CSV whose groups weight the adjusted average; without it rows of split train do, if there are some

    Raises ConfigError if the sets do not fit each other.
    """
    rows, split = rows_of(images, split)
    found = zero_shot_predictions(rows, text, k)
    if found.unlabelled == len(rows):
        return ZeroShotEvaluation(found, None, split, k, None, None, [])
    counts = count_groups(images, rows)
    if train_labels is not None:
        counts = read_group_counts(train_labels, images.group_names)
    labels = found.labels
    assert labels is not None
    known = labels >= 0
    notes = unlabelled_note(rows)
    if images.groups is None:
        notes.append("no groups are known: each class is one")
    report = found.report(counts)
    right = top_k_accuracy(found.predicted[known], labels[known])
    error = _calibration_error(rows, text, labels)
    return ZeroShotEvaluation(found, report, split, k, right, error, notes)


def rows_of(images: EmbeddingSet, split: str | None) -> tuple[EmbeddingSet, str]:
    """The rows to measure on, and of which split they are: of None test where there are rows of it, else all."""
    if split is None:
        split = "test" if "test" in images.splits else "all"
    return images if split == "all" else images.split(split), split


def unlabelled_note(rows: EmbeddingSet) -> list[str]:
    """What to tell of rows without a label, where others have one."""
    lost = 0 if rows.labels is None else int((rows.labels < 0).sum())
    return [f"{lost} of {len(rows)} rows have no label: they are not counted"] if 0 < lost < len(rows) else []


def reports_of(paths: Sequence[Path], train_labels: Path | None) -> tuple[dict[str, GroupReport], list[str]]:
    """Reports of CSV files of predictions by their names, and what a reader should know.

    Raises ConfigError if two files are called alike, or are of other rows.
    """
    found = {path.stem: read_predictions(path) for path in paths}
    if len(found) < len(paths):
        raise ConfigError("predictions: two files are called alike. Give them names of their own.")
    first = next(iter(found.values()))
    reports, notes = {}, []
    for name, predictions in found.items():
        if sorted(predictions.names) != sorted(first.names):
            raise ConfigError(f"{name}: expected predictions of the same rows as the first file's.")
        counts = None if train_labels is None else read_group_counts(train_labels, predictions.group_names)
        reports[name] = predictions.report(counts)
        if _counted(reports[name]) != _counted(next(iter(reports.values()))):
            raise ConfigError(f"{name}: expected the labels and groups of the first file.")
        if predictions.unlabelled:
            notes.append(f"{name}: {predictions.unlabelled} rows have no label: they are not counted")
        if predictions.groups is None:
            notes.append(f"{name}: no groups are known: each class is one")
    return reports, notes


def _counted(report: GroupReport) -> list[tuple[str, int]]:
    return sorted((group.name, group.rows) for group in report.groups)


def _calibration_error(images: EmbeddingSet, text: EmbeddingSet, labels: Labels) -> float | None:
    """By parts: of all images and classes at once probabilities would be larger than the embeddings."""
    scale = text.logit_scale or images.logit_scale
    known = np.flatnonzero(labels >= 0)
    if scale is None:
        return None
    bias = text.logit_bias or images.logit_bias or 0.0
    head: Head = "sigmoid" if bias else "softmax"  # SigLIP alone has a bias
    confidence, right = np.empty(len(known), np.float64), np.empty(len(known), bool)
    for begin in range(0, len(known), CHUNK_ROWS):
        part, rows = slice(begin, begin + CHUNK_ROWS), known[begin : begin + CHUNK_ROWS]
        shares = probabilities(images.vectors[rows], text.vectors, logit_scale=scale, logit_bias=bias, head=head)
        confidence[part], right[part] = shares.max(axis=1), shares.argmax(axis=1) == labels[rows]
    return calibration_error(confidence, right)
