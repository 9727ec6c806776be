"""Embeddings with what is known of each row: its name, class, group and split."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..errors import ConfigError
from .vectors import Labels, Matrix, as_labels, as_matrix

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class EmbeddingSet:
    """What commands hand to methods, and files hold; methods themselves take the plain arrays.

    vectors      [rows, dim] float32 or float64, rows of length 1
    names        of the rows: paths of images or texts, as they were embedded; empty if unknown
    labels       [rows] int64, numbers of `classes`; -1 where unknown; None if nothing is known
    classes      names of the classes
    groups       [rows] int64, numbers of `group_names`; None if unknown
    group_names  names of the groups, such as "waterbird on land"
    splits       "train", "val" or "test" of each row; empty if unknown
    identity     what made them: model, revision, preprocessing; sets mix only where it is equal
    logit_scale, logit_bias  what the model multiplies and shifts cosines by; None if unknown

    Raises ConfigError if lengths or numbers do not fit each other.
    """

    vectors: Matrix
    names: tuple[str, ...] = ()
    labels: Labels | None = None
    classes: tuple[str, ...] = ()
    groups: Labels | None = None
    group_names: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    identity: dict[str, Any] = field(default_factory=dict)
    logit_scale: float | None = None
    logit_bias: float | None = None

    def __post_init__(self) -> None:
        rows = len(as_matrix(self.vectors, "embeddings"))
        for what, given in (("names", self.names), ("splits", self.splits)):
            if given and len(given) != rows:
                raise ConfigError(f"{what}: expected {rows}, one for each embedding, got {len(given)}.")
        for what, texts in (("names", self.names), ("classes", self.classes), ("group_names", self.group_names)):
            if not all(isinstance(text, str) for text in texts) or (what != "names" and len(set(texts)) < len(texts)):
                raise ConfigError(f"{what}: expected texts{'' if what == 'names' else ' that differ'}, got others.")
        wrong = sorted(set(self.splits) - set(SPLITS))
        if wrong:
            raise ConfigError(f"split: expected one of {', '.join(SPLITS)}, got {wrong[0]!r}.")
        for what, numbers, kinds in (
            ("labels", self.labels, self.classes), ("groups", self.groups, self.group_names),
        ):  # fmt: skip
            if numbers is not None:
                known = np.asarray(numbers)
                count = len(kinds) if (known >= 0).any() else 1  # where all are unknown there need not be a name
                as_labels(np.where(known == -1, 0, known), what, rows, count)

    def __len__(self) -> int:
        return len(self.vectors)

    def rows(self, chosen: Any) -> "EmbeddingSet":
        """The set of some rows, by numbers or by a mask."""
        numbers = np.arange(len(self))[chosen]
        return replace(
            self,
            vectors=self.vectors[numbers],
            names=tuple(self.names[i] for i in numbers) if self.names else (),
            labels=None if self.labels is None else self.labels[numbers],
            groups=None if self.groups is None else self.groups[numbers],
            splits=tuple(self.splits[i] for i in numbers) if self.splits else (),
        )

    def split(self, name: str) -> "EmbeddingSet":
        """The rows of a split. Raises ConfigError if there are none."""
        chosen = np.array([split == name for split in self.splits], bool)
        if not chosen.any():
            raise ConfigError(f"embeddings: no row is of split {name!r}. Name it in the column split of the labels.")
        return self.rows(chosen)
