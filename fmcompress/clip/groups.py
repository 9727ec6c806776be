"""Accuracy by group: the average hides what the worst group suffers."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ConfigError
from .vectors import as_labels

Z95 = 1.959963984540054  # of a normal distribution: 95 % lie within


@dataclass(frozen=True)
class GroupAccuracy:
    """Of one group: rows, the share that is right, and Wilson's 95 % interval around it."""

    name: str
    rows: int
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class GroupReport:
    """What a prediction is worth, in shares from 0 to 1.

    average     right rows of all rows
    mean        of the groups' accuracies, each group alike (as RoboShot reports PACS and VLCS)
    adjusted    of the groups' accuracies, weighted by their rows in training (as Waterbirds is reported); None without
    worst       of the groups' accuracies, the least; `worst_group` names it
    gap         average - worst
    empty       names of groups without a row here: nothing is known of them, and they are in no figure above
    """

    average: float
    mean: float
    adjusted: float | None
    worst: float
    worst_group: str
    gap: float
    groups: tuple[GroupAccuracy, ...]
    empty: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        groups = [vars(group) for group in self.groups]
        return {**vars(self), "groups": groups, "empty": list(self.empty)}


def group_report(
    labels: Any, predicted: Any, groups: Any, group_names: tuple[str, ...] = (), *, train_counts: Any = None
) -> GroupReport:
    """Accuracy on average and by group.

    labels, predicted  [rows] integers
    groups             [rows] integers, numbers of groups from 0
    group_names        of the groups; their numbers without
    train_counts       [groups] rows of each group in training, for the adjusted average

    Raises ConfigError if lengths differ, there are no rows, or a group without rows here has rows in training.
    """
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    if labels.ndim != 1 or labels.shape != predicted.shape or not len(labels):
        raise ConfigError(
            f"predictions: expected one for each of the labels, got {list(predicted.shape)} for {list(labels.shape)}."
        )
    groups = np.asarray(groups)
    names = group_names or tuple(str(number) for number in range(int(groups.max(initial=0)) + 1))
    groups = as_labels(groups, "groups", len(labels), len(names))
    right, rows = labels == predicted, np.bincount(groups, minlength=len(names))
    hits = np.bincount(groups, weights=right, minlength=len(names))
    found = tuple(
        GroupAccuracy(name, int(n), hit / n, *wilson(hit, n))
        for name, hit, n in zip(names, hits, rows, strict=True)
        if n
    )
    worst = min(found, key=lambda group: group.accuracy)
    average = float(right.mean())
    return GroupReport(
        average,
        float(np.mean([group.accuracy for group in found])),
        _adjusted(hits, rows, names, train_counts),
        worst.accuracy,
        worst.name,
        average - worst.accuracy,
        found,
        tuple(name for name, n in zip(names, rows, strict=True) if not n),
    )


def labelled_report(
    labels: Any, predicted: Any, groups: Any, classes: tuple[str, ...], group_names: tuple[str, ...], counts: Any = None
) -> GroupReport:
    """As group_report, over the rows that have a label (-1: none); by class where no groups are known (None).

    classes      names that labels number, and
    group_names  names that groups number
    counts       see train_counts there

    Raises ConfigError if no row has a label, or a row with a label has no group: dropped, it would move the average.
    """
    known = np.asarray(labels) >= 0
    if not known.any():
        raise ConfigError("labels: no row has one, so that nothing can be counted. Give them with --labels.")
    by, names = (labels, classes) if groups is None else (groups, group_names)
    lost = int((by[known] < 0).sum())
    if lost:
        raise ConfigError(f"groups: {lost} of {int(known.sum())} rows with a label have none. Name them all.")
    return group_report(labels[known], predicted[known], by[known], names, train_counts=counts)


def wilson(hits: float, rows: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (Wilson 1927): it stays inside [0, 1] and is not empty at 0 or 1."""
    share, scale = hits / rows, 1 + Z95**2 / rows
    centre = (share + Z95**2 / (2 * rows)) / scale
    half = Z95 * math.sqrt(share * (1 - share) / rows + Z95**2 / (4 * rows**2)) / scale
    return max(0.0, centre - half), min(1.0, centre + half)


def _adjusted(hits: Any, rows: Any, names: tuple[str, ...], train_counts: Any) -> float | None:
    if train_counts is None:
        return None
    counts = np.asarray(train_counts, float)
    if counts.shape != (len(names),) or not (counts >= 0).all() or not counts.sum():
        raise ConfigError(f"train_counts: expected {len(names)} numbers of rows, one a group, got {train_counts!r}.")
    unknown = [name for name, n, count in zip(names, rows, counts, strict=True) if count and not n]
    if unknown:
        raise ConfigError(
            f"train_counts: group {unknown[0]!r} has no row here, so that its accuracy is unknown. "
            "Leave the adjusted average out, or add rows of it."
        )
    accuracy = np.divide(hits, rows, out=np.zeros(len(names)), where=rows > 0)
    return float((accuracy * counts).sum() / counts.sum())
