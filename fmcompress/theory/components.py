"""Classes of the smallest equivalence that joins given pairs."""

import numpy as np

from .tables import Ints


def classes(count: int, left: Ints, right: Ints) -> Ints:
    """For each of `count` numbers the smallest one of its class, where left[i] and right[i] are joined for every i."""
    label = np.arange(count)
    while True:
        a, b = label[left], label[right]
        if np.array_equal(a, b):
            return label
        np.minimum.at(label, np.maximum(a, b), np.minimum(a, b))  # roots hang below smaller ones: no cycle
        while not np.array_equal(label, above := label[label]):
            label = above
