"""From shares that keep a budget on the average to whole weights that keep it exactly."""

import math
from collections.abc import Mapping

from ..layerwise import Unstructured


def whole_zeros(shares: Mapping[str, float], weights: Mapping[str, int], sparsity: float) -> dict[str, int]:
    """How many weights of each layer become zero: of all together exactly what `sparsity` prunes of one large layer.

    shares   layer -> share in [0, 1], whose mean over the weights is `sparsity`
    weights  layer -> how many it has
    returns  layer -> share * weights, rounded down, or up for those that lose most by it
    """
    wanted = {name: shares[name] * weights[name] for name in shares}
    zeros = {name: math.floor(value) for name, value in wanted.items()}
    left = Unstructured(sparsity).zeros(1, sum(weights[name] for name in shares)) - sum(zeros.values())
    if not 0 <= left <= len(zeros):
        raise ValueError(f"shares: expected a mean of {sparsity} over the weights, got another.")
    for name in sorted(zeros, key=lambda name: zeros[name] - wanted[name])[:left]:
        zeros[name] += 1
    return zeros


def exact_shares(shares: Mapping[str, float], weights: Mapping[str, int], sparsity: float) -> dict[str, float]:
    """The shares of whole_zeros: prune rounds each of them to that number of weights again."""
    return {name: zeros / weights[name] for name, zeros in whole_zeros(shares, weights, sparsity).items()}
