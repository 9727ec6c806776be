"""Classes of the smallest equivalence that joins given pairs."""

from collections.abc import Iterable

import numpy as np

from .tables import Ints


def classes(count: int, pairs: Iterable[tuple[Ints, Ints]]) -> Ints:
    """For each of `count` numbers the smallest one of its class, where left[i] and right[i] are joined for every i.

    pairs  (left, right), one batch after the other: never more than one is held
    """
    label = np.arange(count)
    for left, right in pairs:
        while True:
            a, b = label[left], label[right]
            apart = a != b
            if not apart.any():
                break
            a, b = a[apart], b[apart]
            np.minimum.at(label, np.maximum(a, b), np.minimum(a, b))  # roots hang below smaller ones: no cycle
            while not np.array_equal(label, above := label[label]):
                label = above
    return label
