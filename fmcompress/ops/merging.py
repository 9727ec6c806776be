"""The weighted sum of many tensors, which all linear merges are made of."""

from torch import Tensor

from .dispatch import run


def weighted_sum_(out: Tensor, sources: Tensor, weights: Tensor) -> Tensor:
    """Write the sum of weighted rows into out, rounded once.

    out      [count] float16, bfloat16, float32 or float64, contiguous, changed; no memory of sources or weights
    sources  [n, count] one of the same dtypes, any strides; n >= 1
    weights  [n] float64, or float32 where sources are not float64: what is summed in

    Products and sums are rounded one by one, in the order of the rows, so that all back-ends give the same bits; the
    sum is rounded to out's dtype once, to the nearest, half to even. With float64 weights that add up to 1 the sum of
    equal rows is that row, to the bit, in all but float64.

    Returns [] int64, how many entries of out are infinite or NaN. Raises ValueError if shapes or dtypes do not fit.
    """
    return run("weighted_sum_", out, sources.contiguous(), weights.contiguous())  # type: ignore[no-any-return]
