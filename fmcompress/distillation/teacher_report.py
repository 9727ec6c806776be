"""How good a teacher is: how often its label is right over all rows, and how many of its texts said nothing."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .examples import SPLITS, Example
from .tasks import FLAWS, Task

BOTH = "train + valid"


@dataclass(frozen=True)
class TeacherReport:
    """Of the rows that a teacher has completed.

    rows      that have a completion
    labelled  of these, that have a label to hold it against
    right     of these, whose teacher_label is right; what did not parse is wrong
    unparsed  why a completion holds no answer -> rows
    unusable  why an answer cannot be right whatever the label -> rows; wrong, too, and not trained on either
    """

    rows: int
    labelled: int
    right: int
    unparsed: dict[str, int]
    unusable: dict[str, int]

    @property
    def accuracy(self) -> float | None:
        """Right among all labelled rows; None if there are none."""
        return self.right / self.labelled if self.labelled else None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "accuracy": self.accuracy}


def teacher_report(examples: Iterable[Example], task: Task) -> TeacherReport:
    """The report of examples as `with_teacher` gives them."""
    asked = [one for one in examples if one.completion is not None]
    labelled = [one for one in asked if one.label is not None]
    right = sum(task.right(one.teacher_label, str(one.label)) for one in labelled if one.teacher_label is not None)
    reasons = Counter(one.unparsed for one in asked if one.unparsed is not None)
    unparsed = {why: count for why, count in reasons.most_common() if why not in FLAWS}
    unusable = {why: count for why, count in reasons.most_common() if why in FLAWS}
    return TeacherReport(len(asked), len(labelled), right, unparsed, unusable)


def reports_by_split(examples: Sequence[Example], task: Task) -> dict[str, TeacherReport]:
    """A report for each split that has completions; for train and valid together, too, if both have; "all" else."""
    present = {one.split for one in examples if one.completion is not None}
    wanted: dict[str, set[str | None]] = {BOTH: {"train", "valid"}} if {"train", "valid"} <= present else {}
    wanted |= {split: {split} for split in SPLITS if split in present}
    if None in present:
        wanted = {"all": present}
    return {name: teacher_report([one for one in examples if one.split in of], task) for name, of in wanted.items()}


def report_lines(reports: Mapping[str, TeacherReport]) -> list[str]:
    """A table, a row a split, and below it the reasons."""
    table: list[tuple[str, ...]] = [("split", "rows", "right", "accuracy", "unparsed", "unusable")]
    for name, one in reports.items():
        accuracy = "–" if one.accuracy is None else f"{one.accuracy:.4f}"
        counts = (one.rows, one.right, accuracy, sum(one.unparsed.values()), sum(one.unusable.values()))
        table.append((name, *map(str, counts)))
    width = max(len(name) for name, *_ in table)
    lines = [f"{name:<{width}}" + "".join(f"{cell:>10}" for cell in cells) for name, *cells in table]
    for name, one in reports.items():
        if reasons := one.unparsed | one.unusable:
            lines.append(f"{name}: " + ", ".join(f"{why} {count}" for why, count in reasons.items()))
    return lines
