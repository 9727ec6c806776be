"""What the command adapter works on: the splits of one set or three, with groups that are numbered alike."""

import numpy as np

from ..errors import ConfigError
from .embedding_set import EmbeddingSet
from .files import require_rows, require_same_model
from .inputs import labels_of
from .robust import Part
from .vectors import Labels


def parts_of(
    train: EmbeddingSet, val: EmbeddingSet | None, test: EmbeddingSet | None, text: EmbeddingSet
) -> tuple[tuple[Part, Part, Part], tuple[str, ...], list[str]]:
    """(train, val, test), the names of the groups, and notes.

    val, test  where they are None rows of train of that split; rows of other splits are then not trained on
    text       its rows number the classes

    Where val or test has no groups, each class is one. Raises ConfigError where rows have no label, or there are none.
    """
    splits = [train.split("train") if train.splits else train, val, test]
    for place, name in ((1, "val"), (2, "test")):
        if splits[place] is None:
            if name not in train.splits:
                raise ConfigError(f"--{name}: missing. Give embeddings, or rows of split {name} in the labels.")
            splits[place] = train.split(name)
    sets = [each for each in splits if each is not None]
    names: tuple[str, ...] = ()
    for each in sets:
        names += tuple(name for name in each.group_names if name not in names)
    notes: list[str] = []
    parts = []
    for what, each in zip(("train", "val", "test"), sets, strict=True):
        require_rows(each, what)
        require_same_model(train, each, ("rows of training", what))
        labels = labels_of(each, text)
        assert labels is not None
        parts.append(Part(each.vectors, labels, _groups(each, names, what)))
    if parts[1].groups is None or parts[2].groups is None:
        notes.append("no groups are known of validation and test: each class is one")
        parts = [Part(part.vectors, part.labels, part.labels) for part in parts]
        names = text.names
    return (parts[0], parts[1], parts[2]), names, notes


def _groups(rows: EmbeddingSet, names: tuple[str, ...], what: str) -> Labels | None:
    """Groups of a set by numbers of `names`; None if no row has one."""
    if rows.groups is None or (rows.groups < 0).all():
        return None
    lost = int((rows.groups < 0).sum())
    if lost:
        raise ConfigError(f"{what}: {lost} of {len(rows)} rows have no group. Name all of them, or none.")
    return np.array([names.index(name) for name in rows.group_names], np.int64)[rows.groups]
