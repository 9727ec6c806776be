"""A linear classifier on embeddings, fitted or made of text, and what lies between the two."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import ConfigError
from .groups import group_report
from .vectors import Labels, Matrix, as_labels, as_matrix

USUAL_C = 0.316  # of the linear probe in CLIP's README
SWEEP = tuple(10.0**power for power in range(-3, 5))


@dataclass(frozen=True)
class LinearHead:
    """logits = embeddings @ weights.T + bias.

    weights    [classes, dim]
    bias       [classes]
    c          the inverse strength of regularisation that it was fitted with; None if it was not
    converged  whether the fit did
    """

    weights: Matrix
    bias: Matrix
    c: float | None = None
    converged: bool = True

    def logits(self, vectors: Any) -> Matrix:
        """[rows, classes] of embeddings [rows, dim]. Raises ConfigError for another width."""
        return as_matrix(vectors, "embeddings", self.weights.shape[1]) @ self.weights.T + self.bias

    def predict(self, vectors: Any) -> Labels:
        """[rows] int64: the class of the highest logit."""
        return self.logits(vectors).argmax(axis=1)


def zero_shot_head(text: Any, logit_scale: float = 1.0) -> LinearHead:
    """The zero-shot classifier as a linear head: weights are the text's rows times the scale, bias is 0."""
    weights = as_matrix(text, "text") * logit_scale
    return LinearHead(weights, np.zeros(len(weights), weights.dtype))


def linear_probe(
    vectors: Any,
    labels: Any,
    classes: int,
    *,
    c: float | None = None,
    val: tuple[Any, Any] | None = None,
    val_groups: Any = None,
    sweep: Sequence[float] = SWEEP,
    max_iter: int = 1000,
    seed: int = 0,
) -> LinearHead:
    """Logistic regression by L-BFGS (scikit-learn), in the dtype of the embeddings.

    vectors     [rows, dim] float32 or float64, rows of length 1
    labels      [rows] from 0; each class needs a row
    c           inverse strength of regularisation; without it the one of `sweep` that is best on val, the least where
                several are; without val 0.316
    val         embeddings and labels to choose on
    val_groups  [rows of val]: choose by the accuracy of the worst group instead of the average

    Equal inputs give equal weights. Raises ConfigError without scikit-learn, and for inputs that do not fit.
    """
    vectors = as_matrix(vectors, "embeddings")
    labels = as_labels(labels, "labels", len(vectors), classes)
    absent = np.flatnonzero(np.bincount(labels, minlength=classes) == 0)
    if classes < 2 or len(absent):
        told = f"class {absent[0]} has no row" if len(absent) else f"there are {classes}"
        raise ConfigError(f"labels: expected rows of at least 2 classes and of each, but {told}.")
    if c is not None or val is None:
        return _fit(vectors, labels, USUAL_C if c is None else c, max_iter, seed)
    if not sweep:
        raise ConfigError("sweep: expected values of c to choose from, got none.")
    heads = [_fit(vectors, labels, each, max_iter, seed) for each in sorted(sweep)]
    return max(heads, key=lambda head: _worth(head, val, val_groups))  # the first of equal ones


def wise_ft(zero_shot: LinearHead, fitted: LinearHead, alpha: float) -> LinearHead:
    """(1 - alpha) times the one head plus alpha times the other (Wortsman et al. 2022): 0 is zero_shot, 1 is fitted.

    Both must have logits of one scale: zero_shot_head(text, encoder.logit_scale) beside a head of cross entropy.
    """
    if not 0 <= alpha <= 1:
        raise ConfigError(f"alpha: expected a number from 0 to 1, got {alpha}.")
    if zero_shot.weights.shape != fitted.weights.shape:
        raise ConfigError(
            f"heads: expected two of one shape, got {list(zero_shot.weights.shape)} and {list(fitted.weights.shape)}."
        )
    return replace(
        fitted,
        weights=(1 - alpha) * zero_shot.weights + alpha * fitted.weights,
        bias=(1 - alpha) * zero_shot.bias + alpha * fitted.bias,
    )


def _fit(vectors: Matrix, labels: Labels, c: float, max_iter: int, seed: int) -> LinearHead:
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise ConfigError("a linear probe needs scikit-learn: pip install 'fmcompress[clip]'.") from None
    if not c > 0:
        raise ConfigError(f"c: expected a number above 0, got {c}.")
    model = LogisticRegression(C=c, max_iter=max_iter, random_state=seed)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        model.fit(vectors, labels)
    converged = not any(issubclass(each.category, ConvergenceWarning) for each in told)
    weights, bias = model.coef_, model.intercept_
    if len(weights) == 1:  # of two classes one row, for their difference
        weights, bias = np.concatenate([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
    return LinearHead(weights.astype(vectors.dtype), bias.astype(vectors.dtype), c, converged)


def _worth(head: LinearHead, val: tuple[Any, Any], groups: Any) -> float:
    predicted = head.predict(val[0])
    labels = as_labels(val[1], "labels of val", len(predicted), len(head.weights))
    if groups is None:
        return float((predicted == labels).mean())
    return group_report(labels, predicted, groups).worst
