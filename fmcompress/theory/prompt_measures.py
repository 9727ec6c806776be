"""What each single prompt tells about a task: its ranking, its gap, its best threshold."""

from dataclasses import dataclass

import numpy as np

from .calibration import Mask
from .score_files import Matrix


@dataclass(frozen=True)
class PromptMeasures:
    """Of each prompt, all [prompts] float64.

    auc        the chance that an object of the task scores above one that is not; ties count half
    margin     least score of the task's objects minus greatest of the others: above 0 a threshold parts them
    accuracy   share of objects that are right at the best threshold, "yes" being above it
    threshold  that threshold, the middle of a gap; of several the lowest. Below all scores it says yes to all
    """

    auc: Matrix
    margin: Matrix
    accuracy: Matrix
    threshold: Matrix


def measure_prompts(values: Matrix, positive: Mask) -> PromptMeasures:
    """Measure all prompts on the objects that they are given; both kinds must be there."""
    yes, no = values[positive], values[~positive]
    return PromptMeasures(_auc(yes, no), yes.min(axis=0) - no.max(axis=0), *_best_threshold(values, positive))


def functoriality(unit: Matrix, positive: Mask) -> tuple[float, int, int]:
    """max (S(X, Y) t(Y) - t(X)) above 0 of a square S in [0, 1], and its X and Y: how alike what is not is to what is.

    0 for a task that is a presheaf enriched in [0, 1]: what is somewhat like an object of the task is of it as much.
    """
    part = unit[np.ix_(~positive, positive)]
    row, column = np.unravel_index(part.argmax(), part.shape)
    found = max(0.0, float(part[row, column]))
    return found, int(np.flatnonzero(~positive)[row]), int(np.flatnonzero(positive)[column])


def _auc(yes: Matrix, no: Matrix) -> Matrix:
    won = np.empty(yes.shape[1])
    for prompt in range(yes.shape[1]):
        others = np.sort(no[:, prompt])
        below = np.searchsorted(others, yes[:, prompt], "left") + np.searchsorted(others, yes[:, prompt], "right")
        won[prompt] = below.mean() / 2 / len(others)
    return won


def _best_threshold(values: Matrix, positive: Mask) -> tuple[Matrix, Matrix]:
    order = np.argsort(values, axis=0, kind="stable")
    ranked = np.take_along_axis(values, order, 0)
    lost = np.cumsum(np.where(positive[order], 1, -1), axis=0)  # errors more than those of "yes to all"
    cut = np.vstack([ranked[1:] > ranked[:-1], np.ones((1, values.shape[1]), bool)])  # no threshold parts equal scores
    errors = (~positive).sum() + np.vstack([np.zeros((1, values.shape[1])), np.where(cut, lost, len(values))])
    best = errors.argmin(axis=0)
    edges = np.vstack([ranked[:1] - 1, (ranked[1:] + ranked[:-1]) / 2, ranked[-1:]])
    columns = np.arange(values.shape[1])
    return 1 - errors[best, columns] / len(values), edges[best, columns]
