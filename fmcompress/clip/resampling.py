"""Which rows an epoch of cross-entropy sees: cells of class and zero-shot prediction stand for unknown groups."""

from collections.abc import Callable

import numpy as np

from .vectors import Labels

Draw = np.random.Generator


def fixed_cells(labels: Labels, predicted: Labels, size: int, draw: Draw) -> Labels:
    """`size` rows of every cell of class and prediction; repeated where a cell is smaller."""
    return np.concatenate([_drawn(cell, size, draw) for cell in _cells(labels, predicted)])


def balanced_cells(labels: Labels, predicted: Labels, _: int, draw: Draw) -> Labels:
    """Classes as large as the largest, then within each class all cells as large as its largest."""
    classes = _cells(labels)
    size = max(map(len, classes))
    rows = np.concatenate([_filled(some, size, draw) for some in classes])
    found = []
    for cls in _cells(labels[rows]):
        cells = _cells(predicted[rows[cls]])
        size = max(map(len, cells))
        found += [rows[cls[_filled(cell, size, draw)]] for cell in cells]
    return np.concatenate(found)


def errors_alone(labels: Labels, predicted: Labels, _: int, __: Draw) -> Labels:
    """Rows that zero-shot is wrong about."""
    return np.flatnonzero(labels != predicted)


def all_rows(labels: Labels, _: Labels, __: int, ___: Draw) -> Labels:
    """Every row once."""
    return np.arange(len(labels))


def upsampled_errors(labels: Labels, predicted: Labels, _: int, draw: Draw) -> Labels:
    """Of each prediction, all classes as often as the most frequent."""
    found = []
    for some in _cells(predicted):
        cells = _cells(labels[some])
        size = max(map(len, cells))
        found += [some[_filled(cell, size, draw)] for cell in cells]
    return np.concatenate(found)


def subsampled_errors(labels: Labels, predicted: Labels, _: int, draw: Draw) -> Labels:
    """Of each prediction, all classes as seldom as the least frequent."""
    found = []
    for some in _cells(predicted):
        cells = _cells(labels[some])
        size = min(map(len, cells))
        found += [some[_drawn(cell, size, draw)] for cell in cells]
    return np.concatenate(found)


Resample = Callable[[Labels, Labels, int, Draw], Labels]
# schedule -> what cross-entropy sees, and whether every other epoch, from the first, is contrastive
SCHEDULES: dict[str, tuple[Resample | None, bool]] = {
    "contrastive": (None, True),  # and nothing else
    "alternate": (fixed_cells, True),
    "alternate_balanced": (balanced_cells, True),
    "errors": (errors_alone, False),
    "erm": (all_rows, False),
    "upsample_errors": (upsampled_errors, False),
    "subsample_errors": (subsampled_errors, False),
}


def balanced_groups(groups: Labels, draw: Draw) -> Labels:
    """As many rows of each group as the smallest has, none twice."""
    cells = _cells(groups)
    size = min(map(len, cells))
    return np.concatenate([_drawn(cell, size, draw) for cell in cells])


def _cells(*keys: Labels) -> list[Labels]:
    """Numbers of rows of each combination that occurs, in order."""
    _, cell = np.unique(np.stack(keys), axis=1, return_inverse=True)
    return [np.flatnonzero(cell == number) for number in range(int(cell.max(initial=-1)) + 1)]


def _drawn(rows: Labels, size: int, draw: Draw) -> Labels:
    return draw.choice(rows, size, replace=size > len(rows))


def _filled(rows: Labels, size: int, draw: Draw) -> Labels:
    """All rows, and as many of them again as are missing."""
    return np.concatenate([rows, draw.choice(rows, size - len(rows))])
