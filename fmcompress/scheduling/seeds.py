"""Plans made from the structure of a network: clusters of near devices, laid along pipelines or along groups."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from .cost import IDLE, Assignment
from .problem import Problem

Matrix = NDArray[np.float64]
CUTS = 6  # clusterings of one dendrogram that are tried, those between the largest jumps
BALLS = 6  # sets of devices near one of them that are tried where not all are needed
EXACT_LEAVES = 256  # devices up to which leaves are ordered so that neighbours are near


def structured(tables: Problem) -> list[Assignment]:
    """Distinct plans whose groups or pipelines stay inside clusters of near devices; the same ones every time.

    A plan is a table of replicas x stages. A cluster is laid into it as a block: as high as the table, and its devices
    average gradients among themselves; one row high, and they hand activations to each other; or between the two.
    """
    stages, devices = tables.compute.shape
    replicas = tables.replicas
    distance = nearness(tables)
    heights = sorted({min(2**power, replicas) for power in range(replicas.bit_length() + 1)})
    first = fitting(tables)
    found: dict[bytes, Assignment] = {first.tobytes(): first}
    for chosen in _choices(tables, distance, stages * replicas):
        near = distance[np.ix_(chosen, chosen)]
        for clusters in (*_clusterings(near), *_by_speed(tables, chosen)):
            for ordered in (clusters, sorted(clusters, key=len, reverse=True)):
                for height in heights:
                    for level in (False, True):
                        stage_of = np.full(devices, IDLE, dtype=np.int64)
                        stage_of[chosen] = _laid(ordered, stages, replicas, height, level)
                        found.setdefault(stage_of.tobytes(), stage_of)
    return list(found.values())


def nearness(tables: Problem) -> Matrix:
    """[devices, devices] seconds that two devices would take for both, gradients and activations."""
    return tables.links[2].numpy() + _exchange(tables)


def fitting(tables: Problem) -> Assignment:
    """A plan in which every device has the memory for its stage, if there is one; of those, one of fast devices."""
    from scipy.optimize import linear_sum_assignment

    compute = tables.compute.numpy()
    unfit = np.isinf(compute)
    slow = np.where(unfit, 0.0, compute)
    times = np.where(unfit, (slow.max() + 1) * compute.shape[1], slow)
    tasklets, devices = linear_sum_assignment(np.repeat(times, tables.replicas, axis=0))
    stage_of = np.full(compute.shape[1], IDLE, dtype=np.int64)
    stage_of[devices] = tasklets // tables.replicas
    return stage_of


def _exchange(tables: Problem) -> Matrix:
    latency, per_byte = tables.links[0].numpy(), tables.links[1].numpy()
    return latency + float(tables.gradient_bytes.max()) * per_byte


def _choices(tables: Problem, distance: Matrix, count: int) -> list[NDArray[np.int64]]:
    """Sets of devices for all tasklets: the ones that are near most others, and those that are near one of them."""
    chosen = _chosen(tables, distance, count)
    if count == len(distance):
        return [chosen]
    unfit = np.isinf(tables.compute.numpy()).sum(0)
    apart = distance * (1 - np.eye(len(distance)))
    balls: dict[bytes, tuple[float, NDArray[np.int64]]] = {}
    for row in apart:
        ball = np.sort(np.lexsort((row, unfit))[:count])
        balls.setdefault(ball.tobytes(), (float(apart[np.ix_(ball, ball)].sum()), ball))
    tightest = sorted(balls.values(), key=lambda pair: pair[0])[:BALLS]
    return [chosen, *(ball for _, ball in tightest)]


def _chosen(tables: Problem, distance: Matrix, count: int) -> NDArray[np.int64]:
    """Devices for all tasklets: without those that fit the fewest stages, then the farthest or slowest ones."""
    compute = tables.compute.numpy()
    unfit = np.isinf(compute).sum(0)
    slow = np.where(np.isinf(compute), 0.0, compute).sum(0) * tables.micro_batches
    far = np.median(distance, axis=1) * len(compute)
    return np.sort(np.lexsort((far + slow, unfit))[:count])


def _clusterings(near: Matrix) -> Iterator[list[NDArray[np.int64]]]:
    """Clusters of near devices, in an order in which neighbours are near, at several levels of several dendrograms."""
    from scipy.cluster.hierarchy import fcluster, leaves_list, linkage
    from scipy.spatial.distance import squareform

    devices = len(near)
    if devices < 2:
        yield [np.arange(devices)]
        return
    condensed = squareform(near, checks=False)
    for method in ("single", "average", "complete"):
        tree = linkage(condensed, method, optimal_ordering=devices <= EXACT_LEAVES)
        leaves = leaves_list(tree)
        merges = tree[:, 2]
        jumps = np.diff(np.log(np.maximum(merges, 1e-12)), append=np.log(max(merges[-1], 1e-12)) + 1e-9)
        for at in np.sort(np.argsort(-jumps, kind="stable")[:CUTS]):
            labels = fcluster(tree, merges[at] * (1 + 1e-12), "distance")
            firsts = dict.fromkeys(labels[leaves])
            yield [leaves[labels[leaves] == label] for label in firsts]


def _by_speed(tables: Problem, chosen: NDArray[np.int64]) -> list[list[NDArray[np.int64]]]:
    """One cluster of all devices, the slowest first or the fastest, where they differ."""
    compute = tables.compute.numpy()[:, chosen]
    speed = np.where(np.isinf(compute), 1e30, compute).sum(0)
    return [[np.argsort(way * speed, kind="stable")] for way in (-1, 1)] if len(np.unique(speed)) > 1 else []


def _laid(clusters: Sequence[NDArray[np.int64]], stages: int, replicas: int, height: int, level: bool) -> Assignment:
    """[tasklets] stages when clusters are laid one after another into bands of `height` replicas, column by column.

    level  each cluster begins in the band that is least full, instead of going on where the last one ended
    """
    rows = np.minimum(height, replicas - np.arange(0, replicas, height))  # of each band
    filled, stage_of, band = np.zeros(len(rows), dtype=np.int64), np.full(stages * replicas, IDLE, dtype=np.int64), 0
    for cluster in clusters:
        left = list(cluster)
        while left:
            if level or filled[band] == rows[band] * stages:
                band = int(np.argmin(filled / rows))
            room = int(rows[band] * stages - filled[band])
            taken, left = left[:room], left[room:]
            stage_of[taken] = (filled[band] + np.arange(len(taken))) // rows[band]
            filled[band] += len(taken)
    return stage_of
