"""The truth of a weighted sum: float64 NumPy, or float32 where weights are, and one rounding in exact fractions."""

from fractions import Fraction

import numpy as np

# bits of a significand, exponent of the smallest normal number, of the largest
FORMATS = {
    "float16": (11, -14, 15),
    "bfloat16": (8, -126, 127),
    "float32": (24, -126, 127),
    "float64": (53, -1022, 1023),
}


def rounded(value, name):
    """The nearest number of a format as a float, half to even; infinite from half a last place past the largest on."""
    bits, least, most = FORMATS[name]
    if value == 0 or not np.isfinite(value):
        return float(value)
    exact = abs(Fraction(float(value)))
    exponent = max(exact.numerator.bit_length() - exact.denominator.bit_length() - 1, least)
    while exact >= Fraction(2) ** (exponent + 1):
        exponent += 1
    place = Fraction(2) ** (exponent - bits + 1)
    nearest = round(exact / place) * place  # Python's round is half to even
    size = float("inf") if nearest >= Fraction(2) ** (most + 1) else float(nearest)
    return float(np.copysign(size, value))


def weighted_sum(sources, weights, name):
    """([count] float64, how many of it are not finite) of sources [n, count] in any dtype, rounded to a format."""
    out = np.zeros(sources.shape[1])
    with np.errstate(all="ignore"):
        for column in range(sources.shape[1]):
            total = weights.dtype.type(sources[0, column]) * weights[0]
            for row in range(1, len(sources)):
                total = total + weights.dtype.type(sources[row, column]) * weights[row]
            out[column] = rounded(total, name)
    return out, int((~np.isfinite(out)).sum())
