"""Probabilities of classes, and whether they are right as often as they say."""

from typing import Any, Literal

import numpy as np

from ..errors import ConfigError
from .vectors import Matrix, as_labels, as_matrix

Head = Literal["softmax", "sigmoid"]


def probabilities(
    images: Any, text: Any, *, logit_scale: float = 100.0, logit_bias: float = 0.0, head: Head = "softmax"
) -> Matrix:
    """[rows, classes] of cosines times logit_scale plus logit_bias, in their dtype.

    images, text             [rows, dim] and [classes, dim], rows of length 1
    logit_scale, logit_bias  of the model: encoder.logit_scale, encoder.logit_bias
    head                     softmax: the classes of an image sum to 1, as CLIP is trained; sigmoid: each class for
                             itself, as SigLIP is. Both have the same likeliest class

    Raises ConfigError for anything else.
    """
    images = as_matrix(images, "images")
    text = as_matrix(text, "text", images.shape[1])
    logits = (images @ text.T) * logit_scale + logit_bias
    if head == "sigmoid":
        small = np.exp(-abs(logits))  # never overflows
        return np.where(logits >= 0, 1, small) / (1 + small)
    if head != "softmax":
        raise ConfigError(f"head: expected softmax or sigmoid, got {head!r}.")
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def expected_calibration_error(shares: Any, labels: Any, *, bins: int = 15) -> float:
    """How far, on average over images, confidence lies off accuracy (Guo et al. 2017): 0 is best, 1 worst.

    shares  [rows, classes] probabilities; the confidence of an image is its largest
    labels  [rows]
    bins    of equal width, over which confidence and accuracy are averaged
    """
    shares = np.asarray(shares)
    if shares.ndim != 2 or not shares.size or not ((shares >= 0) & (shares <= 1 + 1e-6)).all() or bins < 1:
        raise ConfigError(f"probabilities: expected [rows, classes] from 0 to 1, got {list(shares.shape)}.")
    labels = as_labels(labels, "labels", *shares.shape)
    return calibration_error(shares.max(axis=1), shares.argmax(axis=1) == labels, bins=bins)


def calibration_error(confidence: Matrix, right: Any, *, bins: int = 15) -> float:
    """The same of each row's confidence [rows] in the class it was given, and whether that is right [rows]."""
    # bins are open below, as in the published code: a confidence on an edge belongs to the bin below
    where = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    off = np.bincount(where, weights=right, minlength=bins) - np.bincount(where, weights=confidence, minlength=bins)
    return float(abs(off).sum() / len(confidence))
