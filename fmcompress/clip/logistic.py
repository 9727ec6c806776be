"""Logistic regression with an L1 penalty, of any number of classes."""

import numpy as np

from .vectors import Labels, Matrix


def standardised(weight: Matrix, bias: Matrix, mean: Matrix, scale: Matrix) -> tuple[Matrix, Matrix]:
    """Weight and bias for rows as they are, of those for (rows - mean) / scale."""
    weight = weight / scale
    return weight, bias - weight @ mean


def moments(rows: Matrix) -> tuple[Matrix, Matrix]:
    """Mean and standard deviation of each column; 1 where that is 0."""
    scale = rows.std(axis=0)
    return rows.mean(axis=0), np.where(scale == 0, 1, scale)


def sparse_logistic(
    rows: Matrix, labels: Labels, classes: int, c: float, *, steps: int = 500, tolerance: float = 1e-6
) -> tuple[Matrix, Matrix]:
    """Minimise c sum_i -log softmax(W x_i + b)[y_i] + sum |W|, by FISTA (Beck and Teboulle 2009); b is free.

    rows      [n, dim] float64, standardised
    steps     at most; it stops where no weight moves by more than `tolerance` of the largest

    Returns W [classes, dim] and b [classes].
    """
    features = np.hstack([rows, np.ones((len(rows), 1))])
    step = 1 / (c * 0.5 * np.linalg.norm(features, 2) ** 2)  # softmax has curvature of at most 1/2
    wanted = np.eye(classes)[labels]
    now = ahead = np.zeros((classes, features.shape[1]))
    momentum = 1.0
    for _ in range(steps):
        logits = features @ ahead.T
        logits -= logits.max(axis=1, keepdims=True)
        shares = np.exp(logits)
        shares /= shares.sum(axis=1, keepdims=True)
        moved = ahead - step * c * (shares - wanted).T @ features
        moved[:, :-1] = np.sign(moved[:, :-1]) * np.maximum(abs(moved[:, :-1]) - step, 0)
        if ((ahead - moved) * (moved - now)).sum() > 0:
            momentum = 1.0  # it overshoots: begin anew (O'Donoghue and Candes 2015)
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        change = moved - now
        now, ahead, momentum = moved, moved + (momentum - 1) / following * change, following
        if abs(change).max() <= tolerance * abs(now).max():
            break
    return now[:, :-1], now[:, -1]
