"""The cost of a plan and local search for a better one, in NumPy and SciPy."""

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .._ops import EXACT_STAGES, check_groups, waiting_s
from .._ops.scheduling import HAND_OVER, LATENCY, OCCUPIED, PER_BYTE

Matrix = NDArray[np.float64]
Score = tuple[int, float, float]  # devices too small, total, sum of all groups' exchanges


def bottleneck(costs: Matrix) -> float:
    """The least largest entry over the perfect matchings of rows and columns of a square matrix."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_bipartite_matching

    values = np.unique(costs[costs >= max(costs.min(1).max(), costs.min(0).max())])
    low, high = 0, len(values) - 1
    while low < high:
        middle = (low + high) // 2
        matched = maximum_bipartite_matching(csr_array(costs <= values[middle]), perm_type="column")
        low, high = (low, middle) if (matched >= 0).all() else (middle + 1, high)
    return float(values[low])


def shortest_path(weights: Matrix) -> list[int]:
    """The order of all nodes whose open path is shortest (Held and Karp 1962): O(2^n n^2)."""
    nodes = len(weights)
    length = np.full((1 << nodes, nodes), np.inf)
    before = np.zeros((1 << nodes, nodes), dtype=np.int64)
    length[1 << np.arange(nodes), np.arange(nodes)] = 0
    for visited in range(1, 1 << nodes):
        for last in range(nodes):
            if visited >> last & 1 and visited != 1 << last:
                steps = length[visited ^ 1 << last] + weights[:, last]
                before[visited, last] = np.argmin(steps)
                length[visited, last] = steps[before[visited, last]]
    visited = (1 << nodes) - 1
    path = [int(np.argmin(length[visited]))]
    while len(path) < nodes:
        visited, last = visited ^ 1 << path[-1], int(before[visited, path[-1]])
        path.append(last)
    return path


def shorter_path(weights: Matrix) -> list[int]:
    """0, 1, 2, … with stretches of it reversed as long as that makes it shorter (2-opt)."""
    path, better = list(range(len(weights))), True
    while better:
        better = False
        for first in range(len(path) - 1):
            for last in range(first + 1, len(path)):
                turned = path[:first] + path[first : last + 1][::-1] + path[last + 1 :]
                if _length(weights, turned) < _length(weights, path) * (1 - 1e-12):
                    path, better = turned, True
    return path


def _length(weights: Matrix, path: list[int]) -> float:
    return float(weights[path[:-1], path[1:]].sum())


def _terms(
    stage_of: NDArray[np.int64],
    links: Matrix,
    compute: Matrix,
    gradient_bytes: Matrix,
    micro_batches: int,
    free_order: bool,
) -> tuple[NDArray[np.int64], Matrix, Score]:
    stages = len(gradient_bytes)
    if free_order:  # stages are alike
        compute, gradient_bytes = np.broadcast_to(compute[0], compute.shape), np.full(stages, gradient_bytes[0])
    groups = [np.flatnonzero(stage_of == stage) for stage in range(stages)]
    if free_order:
        weights = np.zeros((stages, stages))
        for a in range(stages):
            for b in range(a):
                weights[a, b] = weights[b, a] = bottleneck(links[HAND_OVER][groups[a][:, None], groups[b]])
        path = (shortest_path if stages <= EXACT_STAGES else shorter_path)(weights)
        if groups[path[0]][0] > groups[path[-1]][0]:
            path.reverse()
        groups = [groups[number] for number in path]
        stage_of = stage_of.copy()
        for stage, group in enumerate(groups):
            stage_of[group] = stage
    exchanges = []
    for group, sent in zip(groups, gradient_bytes, strict=True):
        times = (links[LATENCY] + sent * links[PER_BYTE])[group[:, None], group]
        np.fill_diagonal(times, 0)
        exchanges.append(float(times.sum(1).max()))
    slowest = [float(compute[stage, group].max()) for stage, group in enumerate(groups)]
    steps, occupied = [], []
    for here, there in pairwise(groups):
        steps.append(bottleneck(links[HAND_OVER][here[:, None], there]))
        occupied.append(bottleneck(links[OCCUPIED][here[:, None], there]))
    waiting = waiting_s(slowest, steps, occupied, micro_batches)
    parts = [max(exchanges), sum(steps), sum(slowest), waiting]
    small = sum(int(np.isinf(compute[stage, group]).sum()) for stage, group in enumerate(groups))
    return stage_of, np.array([sum(parts), *parts]), (small, sum(parts), sum(exchanges))


def plan_cost(
    stage_of: Tensor, links: Tensor, compute: Tensor, gradient_bytes: Tensor, micro_batches: int, free_order: bool
) -> tuple[Tensor, Tensor]:
    """See fmcompress.ops.plan_cost."""
    check_groups(stage_of, gradient_bytes.shape[0])
    tables = links.numpy(), compute.numpy(), gradient_bytes.numpy()
    ordered, terms, _ = _terms(stage_of.numpy(), *tables, micro_batches, free_order)
    return torch.from_numpy(ordered.copy()), torch.from_numpy(terms)


def improve_plan(
    stage_of: Tensor, links: Tensor, compute: Tensor, gradient_bytes: Tensor, micro_batches: int, free_order: bool,
    seed: int, evaluations: int,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """See fmcompress.ops.improve_plan; here without chains, since each exchange is counted from nothing."""
    check_groups(stage_of, gradient_bytes.shape[0])
    tables = links.numpy(), compute.numpy(), gradient_bytes.numpy()
    chance, count = np.random.default_rng(seed), 0
    best, terms, score = _terms(stage_of.numpy(), *tables, micro_batches, free_order)
    better = True
    while better and count < evaluations:
        better = False
        for a in chance.permutation(len(best)):
            for b in chance.permutation(len(best)):
                if best[a] == best[b] or count >= evaluations:
                    continue
                tried = best.copy()
                tried[a], tried[b] = best[b], best[a]
                tried, tried_terms, tried_score = _terms(tried, *tables, micro_batches, free_order)
                count += 1
                if tried_score < score:
                    best, terms, score, better = tried, tried_terms, tried_score, True
    return torch.from_numpy(best.copy()), torch.from_numpy(terms), torch.tensor(count)
