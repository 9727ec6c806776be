"""The truth of products with packed weights: the weight is written out one entry at a time, in float64."""

import numpy as np
from golden.packing import _to_text


def _numbers(octets, width, first, count):
    """Numbers first, first + 1, ... of a stream."""
    text = _to_text(octets)
    return [int(text[i * width : (i + 1) * width][::-1], 2) for i in range(first, first + count)]


def dense(cols, entries, bitmask, starts, indices, scale, zero, bits, group_size, keep, group):
    """[rows, cols] the weight that the parts stand for; floats are float64, all else as it is stored."""
    places = bitmask if bitmask is not None else indices if indices is not None else entries
    rows = len(places)
    weight = np.zeros((rows, cols))
    width = max(1, min(group_size or cols, cols))
    for r in range(rows):
        if bitmask is not None:
            columns, first, stream = [c for c, bit in enumerate(_to_text(bitmask[r])) if bit == "1"], starts[r], entries
        else:
            columns, first, stream = list(range(cols)), 0, entries[r]
        if indices is not None:
            count = cols // group * keep
            wide = next(w for w in (2, 3, 4, 8) if 1 << w >= group)
            columns = [i // keep * group + place for i, place in enumerate(_numbers(indices[r], wide, 0, count))]
        stored = _numbers(stream, bits, first, len(columns)) if bits else stream[first : first + len(columns)]
        offsets = None if zero is None else _numbers(zero[r], bits, 0, scale.shape[1])
        for column, entry in zip(columns, stored, strict=True):
            g = column // width
            offset = 2 ** (bits - 1) if offsets is None else offsets[g]
            weight[r, column] = (entry - offset) * scale[r, g] if bits else entry
    return weight


def packed_linear(x, bias, *parts):
    """x [tokens, cols] @ dense(...).T + bias."""
    product = np.array([[float(np.dot(token, row)) for row in dense(x.shape[1], *parts)] for token in x])
    return product if bias is None else product + bias
