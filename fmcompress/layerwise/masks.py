"""Which weights a pattern prunes, given a score for each, and the layer that this leaves."""

from torch import Tensor

from .. import ops
from .patterns import NM, Pattern
from .result import Clock, LayerResult, count_zeros, finished, losses


def lowest_scores(scores: Tensor, pattern: Pattern, scope: str) -> Tensor:
    """The weights of lowest score, exactly as many as the pattern says.

    scores   [rows, cols] float32 or float64, finite
    pattern  whose groups compete, if it is N:M; otherwise the weights of a row or of the whole layer do
    scope    "row" or "layer"
    returns  [rows, cols] bool, whether a weight is pruned; of equal scores the first goes
    """
    if isinstance(pattern, NM):
        return ops.nm_mask(scores, pattern.keep, pattern.group)
    segments = scores if scope == "row" else scores.reshape(1, -1)
    count = pattern.zeros(*scores.shape) // max(1, len(segments))
    return ops.select_smallest(segments, count).view(scores.shape)


def drop_lowest(weight: Tensor, scores: Tensor, pattern: Pattern, hessian: Tensor | None, name: str) -> LayerResult:
    """The layer without its weights of lowest score, where nothing makes up for them.

    weight   [rows, cols] any float dtype; left as it is
    scores   [rows, cols] float32 or float64, in which losses are computed as well
    pattern  an Unstructured of scope "row" goes by rows, another one by the whole layer
    hessian  [cols, cols], for loss and relative error, which are NaN without it
    """
    clock = Clock()
    prune = lowest_scores(scores, pattern, getattr(pattern, "scope", "layer"))
    original = weight.to(scores.dtype)
    solved = original.masked_fill(prune, 0.0)
    clock.lap("solve")
    loss, relative = losses(original, solved, hessian)
    result = finished(solved, weight.dtype, name)
    zeros = count_zeros(result)
    clock.lap("report")
    return LayerResult(result, loss, relative, zeros, seconds=clock.laps)
