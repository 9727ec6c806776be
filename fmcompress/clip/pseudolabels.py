"""Pseudo-labels: which images count as which class, and how many of them (Menghini et al. 2023)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from ..errors import ConfigError
from .vectors import Labels, Matrix

Selection = Literal["column_topk", "exclusive_greedy", "released"]
SEEN_SHARE = 0.62  # of the classes, in the published splits


@dataclass(frozen=True)
class PseudoLabels:
    """Images that were taken for a class: class by class, within one by falling probability.

    images         [labels] int64, rows of the probabilities
    classes        [labels] int64, their columns
    probabilities  [labels] of the image to be of the class, as they were given
    """

    images: Labels
    classes: Labels
    probabilities: Matrix

    def __len__(self) -> int:
        return len(self.images)


def select_topk(probabilities: Any, k: int, mode: Selection = "column_topk") -> PseudoLabels:
    """For each class the k images that are likeliest of it; of equal ones the first.

    probabilities  [images, classes] of each image to be of each class
    mode           "column_topk": each class for itself, so that an image may stand for several: min(k, images) a class,
                   the same whatever order images come in. "exclusive_greedy": the likeliest pair of image and class
                   first, each image once. "released": the authors' leaderboard, which depends on the order of images

    Raises ConfigError for another shape, NaN, k below 1 or another mode.
    """
    given = np.asarray(probabilities)
    if given.ndim != 2 or 0 in given.shape or not np.isfinite(given).all():
        raise ConfigError(f"probabilities: expected finite numbers [images, classes], got {list(given.shape)}.")
    if k < 1:
        raise ConfigError(f"k: expected at least 1 image a class, got {k}.")
    if mode not in get_args(Selection):
        raise ConfigError(f"select: expected one of {', '.join(get_args(Selection))}, got {mode!r}.")
    lists = SELECT[mode](given, min(k, len(given)))
    images = np.concatenate([np.asarray(one, np.int64) for one in lists])
    classes = np.repeat(np.arange(given.shape[1]), [len(one) for one in lists])
    return PseudoLabels(images, classes, given[images, classes])


def grip_schedule(unlabelled: int, classes: int, iterations: int = 10) -> tuple[int, ...]:
    """Images a class in each of GRIP's iterations: equal steps up to nearly all images, balanced over the classes.

    With s = floor(images / iterations) it is floor(i * s / classes), at least 1. Raises ConfigError for fewer images
    than classes or iterations.
    """
    if classes < 1 or iterations < 1 or unlabelled < max(classes, iterations):
        raise ConfigError(
            f"unlabelled: expected at least one image for each of {classes} classes and {iterations} iterations, got "
            f"{unlabelled}. Give more images, or fewer iterations."
        )
    step = unlabelled // iterations
    return tuple(max(1, i * step // classes) for i in range(1, iterations + 1))


def seen_unseen_split(classes: int | Sequence[str], seed: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Numbers of the seen classes, in the order drawn, and of the unseen ones, sorted: 62 to 38 %.

    The published splits are those of seeds 500, 0 and 200. Raises ConfigError for fewer than two classes.
    """
    count = classes if isinstance(classes, int) else len(classes)
    if count < 2:
        raise ConfigError(f"classes: expected at least 2 to split, got {count}.")
    drawn = np.random.RandomState(seed).choice(range(count), int(SEEN_SHARE * count), replace=False)
    seen = tuple(int(number) for number in drawn)
    return seen, tuple(sorted(set(range(count)) - set(seen)))


def harmonic_mean(seen: float, unseen: float) -> float:
    """Of the accuracies on seen and on unseen classes: 0 if either is 0, and never above twice the lower one."""
    return 2 * seen * unseen / (seen + unseen) if seen and unseen else 0.0


def _column_topk(given: Matrix, k: int) -> list[list[int]]:
    """Stable, so that of equal probabilities the first images come first."""
    return np.argsort(-given, axis=0, kind="stable")[:k].T.tolist()


def _exclusive_greedy(given: Matrix, k: int) -> list[list[int]]:
    """All pairs by falling probability, then by image, then by class; a pair counts if both have room."""
    lists: list[list[int]] = [[] for _ in range(given.shape[1])]
    free = [True] * len(given)
    room = min(len(given), k * given.shape[1])
    for pair in np.argsort(-given, axis=None, kind="stable").tolist():
        image, number = divmod(pair, given.shape[1])
        if free[image] and len(lists[number]) < k:
            lists[number].append(image)
            free[image] = False
            room -= 1
            if not room:
                break
    return lists


def _leaderboard(given: Matrix, k: int) -> list[list[int]]:
    """What the released code does, image by image: the last entry stands for the least, which it need not be."""
    boards: list[list[tuple[float, int]]] = [[] for _ in range(given.shape[1])]

    def enter(number: int, entry: tuple[float, int]) -> bool:
        board = boards[number]
        if len(board) < k:
            board.append(entry)
        elif board[-1][0] < entry[0]:
            boards[number] = sorted([*board, entry], reverse=True)[:k]
        else:
            return False
        return True

    for image, row in enumerate(given.tolist()):
        best = row.index(max(row))
        if not enter(best, (row[best], image)):
            others = sorted(((value, number) for number, value in enumerate(row) if number != best), reverse=True)
            for value, number in others:  # all of them: one image may get several labels
                enter(number, (value, image))
    return [[image for _, image in board] for board in boards]


SELECT: dict[str, Callable[[Matrix, int], list[list[int]]]] = {
    "column_topk": _column_topk,
    "exclusive_greedy": _exclusive_greedy,
    "released": _leaderboard,
}
