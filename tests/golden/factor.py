"""The truth of the triangular factor of one block in float64 NumPy, entry by entry."""

import numpy as np


def factor_block(symmetric):
    """(R, R^-1) with symmetric = R R^T and R upper triangular; None where it is not positive definite."""
    n = len(symmetric)
    upper = np.zeros((n, n))
    for k in reversed(range(n)):
        pivot = symmetric[k, k] - sum(upper[k, j] ** 2 for j in range(k + 1, n))
        if not 0 < pivot < np.inf:
            return None
        upper[k, k] = np.sqrt(pivot)
        for i in range(k):
            rest = symmetric[i, k] - sum(upper[i, j] * upper[k, j] for j in range(k + 1, n))
            upper[i, k] = rest / upper[k, k]
    inverse = np.zeros((n, n))
    for column in range(n):
        for i in reversed(range(column + 1)):
            rest = float(i == column) - sum(upper[i, j] * inverse[j, column] for j in range(i + 1, column + 1))
            inverse[i, column] = rest / upper[i, i]
    return upper, inverse
