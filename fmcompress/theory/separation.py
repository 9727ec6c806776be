"""The side of fine-tuning: whether a plane parts a task from the rest, and what a probe knows of unseen objects."""

import warnings
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from .calibration import Mask
from .prompt_measures import measure_prompts
from .score_files import Matrix

FOLDS = 5
STRENGTHS = (
    1.0,
    10.0,
    100.0,
    1000.0,
    10000.0,
)  # a probe's inverse strengths: similarities span most directions by little
STEPS = 50  # of the search for a plane, for each object and dimension


@dataclass(frozen=True)
class Separation:
    """Whether a plane parts the objects of a task from the others.

    separable  True with a plane, False with a proof that there is none beyond rounding; None if neither was found
    margin     distance of the nearest object to the plane found, in units of scores; None without one
    rank       of the rows without their mean; from objects - 1 on a plane parts them whatever their labels are
    """

    separable: bool | None
    margin: float | None
    rank: int


@dataclass(frozen=True)
class Generalisation:
    """Shares of objects that are right though their own label was not seen.

    folds     of the cross-validation; 0 if a kind has a single object, and nothing could be held out
    prompt    accuracy of one prompt, which is chosen with its threshold on the other folds; None without folds
    probe     accuracy of a linear probe; None without folds or without scikit-learn
    balanced  mean of its accuracies on objects of the task and on the others; None as probe is
    nearest   accuracy of the nearest other object's label
    majority  of always telling the commoner of the two
    """

    folds: int
    prompt: float | None
    probe: float | None
    balanced: float | None
    nearest: float
    majority: float


def separate(features: Matrix, positive: Mask, resolution: float) -> Separation:
    """Find a plane that parts the objects of a task from the others by more than `resolution`, or prove there is none.

    First by least squares, which parts all labels of independent rows; else by non-negative least squares: the convex
    hulls of both kinds meet, or its residual is a plane between them (Gordan's alternative).
    """
    rows, rank = _rotated(features)
    signs = np.where(positive, 1.0, -1.0)
    scale = float(np.linalg.norm(rows, axis=1).max()) or 1.0
    signed = signs[:, None] * np.hstack([rows / scale, np.ones((len(rows), 1))])
    plane = np.linalg.lstsq(signed, np.ones(len(rows)), rcond=None)[0]
    margin = scale * _margin(signed, plane)
    if margin > resolution:
        return Separation(True, margin, rank)
    residual, done = _non_negative_residual(signed)
    margin = scale * _margin(signed, residual[:-1])
    if margin > resolution:
        return Separation(True, margin, rank)
    return Separation(False if done else None, None, rank)


def generalisation(features: Matrix, positive: Mask, *, seed: int = 0) -> Generalisation:
    """Cross-validate one prompt, a linear probe, and the nearest row.

    The probe is logistic regression on rows less their mean, in units of their deviation; its inverse strength is the
    one of STRENGTHS that is right most often in a cross-validation among the other folds alone, then the least. None
    without scikit-learn. The prompt is that of the best accuracy on the other folds, of several that of the greatest
    AUC, then the first. Folds hold both kinds in proportion, drawn by `seed`; there are 5, or as many as the rarer
    kind has objects.
    """
    counts = int(positive.sum()), int((~positive).sum())
    folds = min(FOLDS, *counts)
    prompt = probe = balanced = None
    if folds >= 2:
        parts = _folds(positive, folds, seed)
        prompt = float(_prompted(features, positive, parts).mean())
        right = _probed(_rotated(features)[0], positive, parts, seed)
        if right is not None:
            probe, balanced = float(right.mean()), float((right[positive].mean() + right[~positive].mean()) / 2)
    nearest = float((positive[_nearest(features)] == positive).mean())
    return Generalisation(folds if folds >= 2 else 0, prompt, probe, balanced, nearest, max(counts) / sum(counts))


def _rotated(features: Matrix) -> tuple[Matrix, int]:
    """The rows without their mean, turned to as many columns as they span, at least one; and how many they span."""
    left, sizes, _ = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)
    spanned = sizes > max(sizes[0] * 1e-10, np.linalg.norm(features) * 1e-14)  # beyond the rounding of their mean
    rank = int(spanned.sum())
    return (left * np.where(spanned, sizes, 0))[:, : max(rank, 1)], rank


def _margin(signed: Matrix, plane: Matrix) -> float:
    """The least distance of a row from a plane whose last number is its offset; below 0 if one is on the wrong side."""
    length = np.linalg.norm(plane[:-1])
    return float((signed @ plane).min() / length) if length > 0 else -np.inf


def _non_negative_residual(signed: Matrix) -> tuple[Matrix, bool]:
    """M x - b of the x >= 0 that makes it least, for M of the signed rows above a row of ones and b = (0, …, 0, 1).

    After Lawson and Hanson (1974). At the least M' (b - M x) <= 0, so that all rows lie beyond the plane of the
    residual, unless that is 0: then x weighs a point of both hulls. The second value: whether the least was reached.
    """
    matrix = np.vstack([signed.T, np.ones(len(signed))])
    target = np.eye(len(matrix))[-1]
    weights, chosen = np.zeros(len(signed)), np.zeros(len(signed), bool)
    residual, tiny = target.copy(), 1e-12 * float(abs(matrix).max())
    for _ in range(STEPS * sum(matrix.shape)):
        pull = np.where(chosen, -np.inf, matrix.T @ residual)
        if pull.max() <= tiny:
            return -residual, True
        chosen[pull.argmax()] = True
        while True:
            solved = np.zeros(len(weights))
            solved[chosen] = np.linalg.lstsq(matrix[:, chosen], target, rcond=None)[0]
            low = chosen & (solved <= 0)
            if not low.any():
                break
            step = (weights[low] / np.maximum(weights[low] - solved[low], 1e-300)).min()
            weights = weights + step * (solved - weights)
            chosen &= weights > 1e-15
            weights[~chosen] = 0
        weights = solved
        residual = target - matrix @ weights
    return -residual, False


def _folds(positive: Mask, folds: int, seed: int) -> NDArray[np.int64]:
    generator, number = np.random.default_rng(seed), np.empty(len(positive), np.int64)
    for kind in (positive, ~positive):
        number[generator.permutation(np.flatnonzero(kind))] = np.arange(kind.sum()) % folds
    return number


def _prompted(features: Matrix, positive: Mask, folds: NDArray[np.int64]) -> Mask:
    right = np.zeros(len(features), bool)
    for fold in range(folds.max() + 1):
        held = folds == fold
        found = measure_prompts(features[~held], positive[~held])
        best = int(np.lexsort((-found.auc, -found.accuracy))[0])
        right[held] = (features[held, best] > found.threshold[best]) == positive[held]
    return right


def _probed(rows: Matrix, positive: Mask, folds: NDArray[np.int64], seed: int) -> Mask | None:
    """Whether each row is right by logistic regression on the other folds; None without scikit-learn."""
    if find_spec("sklearn") is None:
        return None
    right = np.zeros(len(rows), bool)
    for fold in range(folds.max() + 1):
        held = folds == fold
        strength = _strength(rows[~held], positive[~held], seed)
        right[held] = _predicted(rows[~held], positive[~held], rows[held], strength) == positive[held]
    return right


def _strength(rows: Matrix, positive: Mask, seed: int) -> float:
    """The inverse strength with which a probe is right most often on rows held out of these, of equals the least."""
    count = min(FOLDS, int(positive.sum()), int((~positive).sum()))
    if count < 2:
        return STRENGTHS[len(STRENGTHS) // 2]
    folds = _folds(positive, count, seed)

    def right(strength: float) -> int:
        parts = (folds == fold for fold in range(count))
        found = (_predicted(rows[~held], positive[~held], rows[held], strength) == positive[held] for held in parts)
        return sum(int(each.sum()) for each in found)

    return max(STRENGTHS, key=right)


def _predicted(seen: Matrix, positive: Mask, unseen: Matrix, strength: float) -> Mask:
    """What logistic regression on the seen rows tells of the unseen."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    mean = seen.mean(axis=0)
    scale = np.linalg.norm(seen - mean) / np.sqrt(len(seen)) or 1.0
    model = LogisticRegression(C=strength, max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of parted rows weights grow without end
        model.fit((seen - mean) / scale, positive)
    return model.predict((unseen - mean) / scale)


def _nearest(features: Matrix, chunk: int = 512) -> NDArray[np.int64]:
    """The nearest other row of each, the first of equally near ones."""
    found, squared = np.empty(len(features), np.int64), (features**2).sum(axis=1)
    for begin in range(0, len(features), chunk):
        part = features[begin : begin + chunk]
        distance = squared[None] - 2 * part @ features.T
        distance[np.arange(len(part)), begin + np.arange(len(part))] = np.inf
        found[begin : begin + chunk] = distance.argmin(axis=1)
    return found
