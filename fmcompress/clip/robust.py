"""Baselines of robustness beside contrastive adapters, on the same matrices; the worst validation group selects."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from ..errors import ConfigError
from .adapters import FittedAdapter
from .contrastive_adapter import ContrastiveAdapter
from .embedding_set import EmbeddingSet
from .group_dro import GroupDro
from .groups import GroupReport, group_report
from .linear_probe import LinearHead, linear_probe, zero_shot_head
from .logistic import moments, sparse_logistic, standardised
from .resampling import balanced_groups
from .vectors import Labels, Matrix, as_labels, as_matrix

METHODS = ("zeroshot", "linear", "erm", "contrastive", "dfr", "groupdro")
PENALTIES = (1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01)  # of DFR's released code


class Classifier(Protocol):
    """What a method makes."""

    def predict(self, vectors: Any, /) -> Labels:
        """[rows] the class of each row."""
        ...


@dataclass(frozen=True)
class Trained:
    """A classifier, how many numbers were trained for it, and what was not as one might think."""

    classifier: Classifier
    parameters: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Part:
    """Rows of one split: embeddings [rows, dim], labels [rows] and groups [rows], None where they are unknown."""

    vectors: Matrix
    labels: Labels
    groups: Labels | None = None

    @classmethod
    def of(cls, rows: EmbeddingSet, what: str) -> "Part":
        """Of a set whose rows all have a label. Raises ConfigError if one has none."""
        if rows.labels is None or (rows.labels < 0).any():
            raise ConfigError(f"{what}: expected a label for every row. Name them in the file of labels.")
        if rows.groups is not None and (rows.groups < 0).any():
            raise ConfigError(f"{what}: expected a group for every row, or none at all.")
        return cls(rows.vectors, rows.labels, rows.groups)


def compare_robust(
    train: Part,
    val: Part,
    test: Part,
    text: Any,
    *,
    methods: Sequence[str] = METHODS,
    plan: ContrastiveAdapter | None = None,
    group_names: tuple[str, ...] = (),
) -> dict[str, GroupReport]:
    """What each method reaches on `test`, all trained on `train` and selected by the worst group of `val`.

    train      needs groups for groupdro alone; val and test always
    text       [classes, dim] embeddings of the classes
    plan       of the adapters, and the seed of all

    Raises ConfigError as train_robust does.
    """
    found = {method: train_robust(method, train, val, text, plan=plan) for method in methods}
    return {method: report(one.classifier, train, test, group_names) for method, one in found.items()}


def report(classifier: Classifier, train: Part, test: Part, group_names: tuple[str, ...] = ()) -> GroupReport:
    """Accuracy by group on `test`; the adjusted average, too, where groups of `train` are known and all in `test`."""
    groups = _groups(test, "test")
    counts = None
    if train.groups is not None:
        size = max(len(group_names), int(groups.max(initial=0)) + 1, int(train.groups.max(initial=0)) + 1)
        counts = np.bincount(train.groups, minlength=size)
        unknown = (counts > 0) & (np.bincount(groups, minlength=size) == 0)
        counts = None if unknown.any() or size != (len(group_names) or size) else counts
    return group_report(test.labels, classifier.predict(test.vectors), groups, group_names, train_counts=counts)


def train_robust(method: str, train: Part, val: Part, text: Any, *, plan: ContrastiveAdapter | None = None) -> Trained:
    """A classifier by one of METHODS.

    zeroshot     the nearest row of text; trains nothing
    linear       logistic regression on train (ERM), its penalty selected
    erm          an adapter trained by cross-entropy alone
    contrastive  a contrastive adapter, as `plan` says
    dfr          the last layer refitted on group-balanced subsets of val, averaged (Kirichenko et al. 2023)
    groupdro     an adapter trained on the groups that have the highest losses (Sagawa et al. 2020)

    Raises ConfigError for another method, matrices that do not fit each other, missing groups of val, and for
    groupdro of train.
    """
    plan = plan or ContrastiveAdapter()
    text = as_matrix(text, "text")
    as_matrix(train.vectors, "train", text.shape[1])
    as_labels(train.labels, "labels of train", len(train.vectors), len(text))
    selected = val.vectors, val.labels, _groups(val, "val")
    if method == "zeroshot":
        return Trained(zero_shot_head(text), 0)
    if method == "linear":
        head = linear_probe(
            train.vectors, train.labels, len(text), val=selected[:2], val_groups=selected[2], seed=plan.seed
        )
        notes = () if head.converged else ("the linear probe has not converged",)
        return Trained(head, head.weights.size + head.bias.size, notes)
    if method == "dfr":
        head = _dfr(train, val, len(text), plan.seed)
        return Trained(head, head.weights.size + head.bias.size)
    if method == "contrastive":
        return _adapter(plan.fit(train.vectors, train.labels, text, val=selected))
    erm = replace(plan, schedule="erm")
    if method == "erm":
        return _adapter(erm.fit(train.vectors, train.labels, text, val=selected))
    if method == "groupdro":
        weigh = GroupDro(_groups(train, "train"))
        return _adapter(erm.fit(train.vectors, train.labels, text, val=selected, batch_loss=weigh))
    raise ConfigError(f"method: expected one of {', '.join(METHODS)}, got {method!r}.")


def _groups(part: Part, what: str) -> Labels:
    if part.groups is None:
        raise ConfigError(f"{what}: groups are needed here, and none are known. Name them in the file of labels.")
    return part.groups


def _adapter(fitted: FittedAdapter) -> Trained:
    return Trained(fitted, fitted.parameters, fitted.notes)


def _worst(head: LinearHead, part: Part) -> tuple[float, float]:
    """By which penalties are selected: the worst group, then the average."""
    found = group_report(part.labels, head.predict(part.vectors), part.groups)
    return found.worst, found.average


def _dfr(train: Part, val: Part, classes: int, seed: int, refits: int = 20) -> LinearHead:
    """The penalty is chosen by one half of val for the other; then all of val is refitted on, `refits` times."""
    absent = np.flatnonzero(np.bincount(val.labels, minlength=classes) == 0)
    if len(absent):
        raise ConfigError(f"val: class {absent[0]} has no row, and DFR learns from val alone. Add some.")
    draw = np.random.default_rng(seed)
    order = draw.permutation(len(val.vectors))
    halves = [_rows(val, order[: len(order) // 2]), _rows(val, order[len(order) // 2 :])]
    missing = set(np.unique(_groups(val, "val"))) - set(np.unique(_groups(halves[1], "val")))
    if missing or not len(halves[0].labels):
        raise ConfigError(f"val: group {min(missing, default=0)} has too few rows to be split in halves for DFR.")
    balanced = _rows(halves[1], balanced_groups(_groups(halves[1], "val"), draw))
    mean, scale = moments(balanced.vectors.astype(np.float64))
    tried = [(c, _fit(balanced, c, classes, mean, scale)) for c in PENALTIES]
    c, _ = max(tried, key=lambda each: _worst(each[1], halves[0]))
    mean, scale = moments(train.vectors.astype(np.float64))
    fits = [
        _fit(_rows(val, balanced_groups(_groups(val, "val"), draw)), c, classes, mean, scale) for _ in range(refits)
    ]
    return LinearHead(np.mean([fit.weights for fit in fits], axis=0), np.mean([fit.bias for fit in fits], axis=0), c)


def _rows(part: Part, some: Labels) -> Part:
    return Part(part.vectors[some], part.labels[some], None if part.groups is None else part.groups[some])


def _fit(part: Part, c: float, classes: int, mean: Matrix, scale: Matrix) -> LinearHead:
    rows = (part.vectors - mean) / scale
    weight, bias = sparse_logistic(rows, part.labels, classes, c)
    return LinearHead(*standardised(weight, bias, mean, scale), c)
