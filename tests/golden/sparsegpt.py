"""The truth in float64 NumPy, straight from the SparseGPT paper (arXiv 2301.00774), with the inverse written out."""

import math

import numpy as np


def zeros_of(sparsity, count):
    """How many of `count` weights a sparsity prunes."""
    return math.floor(sparsity * count + 0.5)


def _rank(scores):
    """Indices from the smallest score to the largest: equal scores by index, NaN last."""
    keys = [(1, 0.0, i) if math.isnan(score) else (0, score, i) for i, score in enumerate(scores.tolist())]
    return [i for _, _, i in sorted(keys)]


def select_smallest(scores, count):
    """Mask of the `count` smallest scores of each row."""
    mask = np.zeros(scores.shape, dtype=bool)
    for segment, row in enumerate(scores):
        mask[segment, _rank(row)[:count]] = True
    return mask


def nm_mask(scores, keep, group):
    """Mask of the group - keep smallest scores in each group of neighbours."""
    mask = np.zeros(scores.shape, dtype=bool)
    for begin in range(0, scores.shape[1], group):
        mask[:, begin : begin + group] = select_smallest(scores[:, begin : begin + group], group - keep)
    return mask


def sweep_block(weight, factor, prune=None, keep=0, group=0):
    """Algorithm 1's inner loop, one weight at a time: (new weight, loss of each row, mask)."""
    weight = np.array(weight, dtype=np.float64)
    rows, cols = weight.shape
    mask = np.zeros((rows, cols), dtype=bool) if prune is None else np.array(prune)
    loss = np.zeros(rows)
    for row in range(rows):
        for j in range(cols):
            if prune is None and j % group == 0:
                scores = np.array([(weight[row, k] / factor[k, k]) ** 2 for k in range(j, j + group)])
                mask[row, j : j + group] = nm_mask(scores[None], keep, group)[0]
            if mask[row, j]:
                error = weight[row, j] / factor[j, j]
                for k in range(j + 1, cols):
                    weight[row, k] -= error * factor[j, k]
                weight[row, j] = 0.0
                loss[row] += error**2
    return weight, loss, mask


def damped(hessian, damping):
    """The Hessian with a share of the mean live diagonal on each live entry, and next to nothing on the dead ones."""
    diagonal = np.diagonal(hessian)
    dead = diagonal == 0
    mean = diagonal[~dead].mean()
    return hessian + np.diag(np.where(dead, 1e-12 * mean, damping * mean))


def sparsegpt(weight, hessian, damping, sparsity=None, scope="block", nm=None, block_size=128):
    """Algorithm 1 as printed, right-looking, rows together: (new weight, mask, damped loss)."""
    weight = np.array(weight, dtype=np.float64)
    rows, cols = weight.shape
    inverse = np.linalg.inv(damped(np.asarray(hessian, dtype=np.float64), damping))
    factor = np.linalg.cholesky(inverse).T  # upper: inverse = factor^T factor
    diagonal = np.diagonal(factor)
    mask = np.zeros((rows, cols), dtype=bool)
    loss = 0.0
    if scope == "layer":
        mask = select_smallest(((weight / diagonal) ** 2).reshape(1, -1), zeros_of(sparsity, rows * cols)).reshape(
            rows, cols
        )
    for begin in range(0, cols, block_size):
        end = min(cols, begin + block_size)
        errors = np.zeros((rows, end - begin))
        if nm is None and scope != "layer":
            scores = (weight[:, begin:end] / diagonal[begin:end]) ** 2
            if scope == "block":
                count = zeros_of(sparsity, rows * end) - zeros_of(sparsity, rows * begin)
                mask[:, begin:end] = select_smallest(scores.reshape(1, -1), count).reshape(scores.shape)
            else:
                mask[:, begin:end] = select_smallest(scores, zeros_of(sparsity, end) - zeros_of(sparsity, begin))
        for j in range(begin, end):
            if nm is not None and j % nm[1] == 0:
                group = slice(j, j + nm[1])
                mask[:, group] = nm_mask((weight[:, group] / diagonal[group]) ** 2, *nm)
            errors[:, j - begin] = np.where(mask[:, j], weight[:, j] / diagonal[j], 0.0)
            weight[:, j:end] -= errors[:, j - begin, None] * factor[j, j:end]
        weight[:, end:] -= errors @ factor[begin:end, end:]
        loss += float((errors**2).sum())
    weight[mask] = 0.0
    return weight, mask, loss
