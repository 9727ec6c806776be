"""Which weights a pattern prunes, given a score for each."""

from torch import Tensor

from .. import ops
from .patterns import NM, Pattern


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
