"""The truth of a step of the ADMM search in float64 NumPy, entry by entry."""

import numpy as np

from .sparsegpt import nm_mask, select_smallest


def admm_step(x, dual, kept, target, penalty, next_penalty, prune=0, keep=0, group=0, by_row=False):
    """(next right-hand side, next dual, support, how many of the support changed)."""
    value = x + dual
    scores = np.abs(value)
    if group:
        pruned = nm_mask(scores, keep, group)
    else:
        pruned = select_smallest(scores if by_row else scores.reshape(1, -1), prune).reshape(x.shape)
    right_side, left, changed = np.zeros(x.shape), np.zeros(x.shape), 0
    for place in np.ndindex(x.shape):
        projected = 0.0 if pruned[place] else value[place]
        left[place] = (value[place] - projected) * (penalty / next_penalty)
        right_side[place] = target[place] + next_penalty * (projected - left[place])
        changed += int(kept[place] == pruned[place])
    return right_side, left, ~pruned, changed
