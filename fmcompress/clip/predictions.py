"""What a classifier says of each image, beside what is true: as arrays, as a CSV file, and what it is worth."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigError
from .embedding_set import EmbeddingSet
from .groups import GroupReport, labelled_report
from .inputs import labels_of
from .lists import COLUMNS, numbered, read_csv
from .vectors import Labels, Matrix
from .zero_shot import top_k

PREDICTED = ("name", "label", "group", "split", "predicted", "cosine")


@dataclass(frozen=True)
class Predictions:
    """Of each row.

    classes    names that predicted and labels number
    predicted  [rows, k] the likeliest classes, the likeliest first
    cosines    [rows, k] of these; None where a classifier has none
    labels     [rows], -1 where unknown; None if none is known
    groups     [rows] numbers of group_names, -1 where unknown; None if none is known
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    predicted: Labels
    cosines: Matrix | None = None
    labels: Labels | None = None
    groups: Labels | None = None
    group_names: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()

    @property
    def unlabelled(self) -> int:
        """Rows that no figure counts, as their label is unknown."""
        return len(self.predicted) if self.labels is None else int((self.labels < 0).sum())

    def report(self, train_counts: Any = None) -> GroupReport:
        """Accuracy by group, or by class where no groups are known, over the rows that have a label.

        train_counts  see group_report

        Raises ConfigError if there is no label, or a row with a label has no group.
        """
        if self.labels is None:
            raise ConfigError("labels: no row has one, so that nothing can be counted. Give them with --labels.")
        found = self.predicted[:, 0]
        return labelled_report(self.labels, found, self.groups, self.classes, self.group_names, train_counts)


def zero_shot_predictions(images: EmbeddingSet, text: EmbeddingSet, k: int = 1) -> Predictions:
    """What the nearest rows of text say. Raises ConfigError if the sets do not fit each other."""
    labels = labels_of(images, text)
    predicted, cosines = top_k(images.vectors, text.vectors, k)
    return Predictions(
        images.names or tuple(str(row) for row in range(len(images))),
        text.names,
        predicted,
        cosines,
        labels,
        images.groups,
        images.group_names,
        images.splits,
    )


def write_predictions(path: Path, found: Predictions) -> None:
    """Write a CSV file of name, label, group, split, predicted, cosine; whole or not at all. Raises DiskError.

    Further classes of a row stand in predicted2, cosine2 and so on.
    """
    from ..checkpoint import write_error

    growing = path.with_name(f"{path.name}.partial")
    count = found.predicted.shape[1]
    more = [f"{title}{place}" for place in range(2, count + 1) for title in ("predicted", "cosine")]
    try:
        with growing.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow([*PREDICTED, *more])
            for at, name in enumerate(found.names):
                label = _name(found.labels, found.classes, at)
                group = _name(found.groups, found.group_names, at)
                ranked = [found.classes[number] for number in found.predicted[at]]
                cosines = ["" if found.cosines is None else f"{found.cosines[at, place]:.6g}" for place in range(count)]
                both = [value for pair in zip(ranked, cosines, strict=True) for value in pair]
                rows.writerow([name, label, group, found.splits[at] if found.splits else "", *both])
        growing.replace(path)
    except OSError as error:
        growing.unlink(missing_ok=True)
        raise write_error(path, error) from None


def read_predictions(path: Path) -> Predictions:
    """A CSV file with columns label and predicted, and some of name, group, split, cosine; further ranks are left out.

    Raises ConfigError if it is none, or a prediction is empty.
    """
    ranks = [f"{title}{place}" for place in range(2, 1001) for title in ("predicted", "cosine")]
    columns = read_csv(path, [*PREDICTED, *ranks], ("label", "predicted"))
    rows = len(columns["label"])
    if not rows or not all(columns["predicted"]):
        raise ConfigError(f"{path}: expected a prediction in each of its rows, got {rows} rows.")
    _, classes = numbered(path, "label", [*columns["label"], *columns["predicted"]], ())
    groups, names = (None, ()) if not any(columns.get("group", ())) else numbered(path, "group", columns["group"], ())
    return Predictions(
        tuple(columns.get("name") or map(str, range(rows))),
        classes,
        numbered(path, "predicted", columns["predicted"], classes)[0][:, None],
        labels=numbered(path, "label", columns["label"], classes)[0],
        groups=groups,
        group_names=names,
        splits=tuple(columns.get("split") or ()),
    )


def count_groups(images: EmbeddingSet, measured: EmbeddingSet | None = None) -> Labels | None:
    """[groups] rows of split train, for the adjusted average; None if there are none, or groups are not known.

    measured  rows that accuracy is counted on; None, too, if a group of training has no row there: it has no accuracy

    Raises ConfigError if a row of training has no group.
    """
    train = np.array([split == "train" for split in images.splits], bool)
    if images.groups is None or not train.any():
        return None
    lost = int((images.groups[train] < 0).sum())
    if lost:
        raise ConfigError(f"groups: {lost} of {int(train.sum())} rows of split train have none. Name them all.")
    counts = np.bincount(images.groups[train], minlength=len(images.group_names))
    if measured is not None and measured.groups is not None:
        there = np.bincount(measured.groups[measured.groups >= 0], minlength=len(counts))
        if (counts[there == 0] > 0).any():
            return None
    return counts


def read_group_counts(path: Path, group_names: Sequence[str]) -> Labels:
    """[groups] rows of training in a CSV of labels: those of split train, or all if it has no column split.

    Raises ConfigError if it has no column group, a group is none of the names, or there are no names.
    """
    if not group_names:
        raise ConfigError(f"{path}: has groups of training, but of the rows that are measured none is known.")
    columns = read_csv(path, COLUMNS, ("group",))
    splits = columns.get("split") or ["train"] * len(columns["group"])
    train = [group for group, split in zip(columns["group"], splits, strict=True) if split == "train"]
    numbers, _ = numbered(path, "group", train, tuple(group_names))
    return np.bincount(numbers[numbers >= 0], minlength=len(group_names))


def _name(numbers: Labels | None, names: tuple[str, ...], at: int) -> str:
    return "" if numbers is None or numbers[at] < 0 else names[numbers[at]]
