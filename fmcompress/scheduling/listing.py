"""The profiles that groups can have: how many devices of each cluster, and what that costs at least."""

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Counts = NDArray[np.int64]
ALL_SUBSETS = 8  # clusters up to which Hall's condition is checked for all subsets, else for those of two


def matching(counts: Counts, others: Counts, first: Counts, second: Counts, near: NDArray[np.bool_]) -> Counts:
    """Which pairs of profiles one link between near clusters can join; of many clusters, at least those.

    What any clusters have of one profile, their neighbours must have of the other (Hall 1935).
    """
    clusters, left = len(near), np.arange(len(first))
    for size in range(1, (clusters if clusters <= ALL_SUBSETS else 2) + 1):
        for chosen in map(list, combinations(range(clusters), size)):
            here, there = counts[:, chosen].sum(1), others[:, near[chosen].any(0)].sum(1)
            left = left[here[first[left]] <= there[second[left]]]
            if not len(left):
                return left
    return left


def profiles_of(sizes: Counts, replicas: int, most: int) -> Counts | None:
    """[profiles, clusters] all ways to take so many devices of clusters of those sizes; None if there are too many."""
    found = np.zeros((1, 0), dtype=np.int64)
    for at, size in enumerate(sizes):
        left, after = replicas - found.sum(1), int(sizes[at + 1 :].sum())
        least = np.maximum(left - after, 0)
        ways = np.maximum(np.minimum(left, size) - least + 1, 0)
        if ways.sum() > most:
            return None
        row = np.repeat(np.arange(len(found)), ways)
        taken = np.arange(len(row)) - np.repeat(np.cumsum(ways) - ways, ways) + least[row]
        found = np.concatenate([found[row], taken[:, None]], 1)
    return found


def exchange_of(profiles: Counts, label: Counts, times: Matrix) -> Matrix:
    """[profiles] least exchange of a group: of p devices of a cluster, one costs at least its p-th smallest sum."""
    sums = np.zeros((len(profiles), len(label)))
    for device, row in enumerate(times):
        for cluster in range(profiles.shape[1]):
            others = label == cluster
            others[device] = False
            prefix = np.concatenate([[0.0], np.cumsum(np.sort(row[others]))])
            count = profiles[:, cluster] - (label[device] == cluster)
            sums[:, device] += prefix[np.clip(count, 0, len(prefix) - 1)]
    least = np.zeros(len(profiles))
    for cluster in range(profiles.shape[1]):
        ordered, count = np.sort(sums[:, label == cluster], 1), profiles[:, cluster]
        here = ordered[np.arange(len(profiles)), np.maximum(count, 1) - 1]
        least = np.maximum(least, np.where(count > 0, here, 0.0))
    return least
