"""Seconds of a step that no plan can beat."""

import time

import numpy as np
from numpy.typing import NDArray

from .. import ops
from ..errors import ConfigError
from .problem import Problem
from .profiles import EQUAL, Profiles

Matrix = NDArray[np.float64]
CUTS = 4  # choices of clusters whose profiles are looked at


def lower_bound(tables: Problem, best_s: float = np.inf, budget_s: float = 2.0) -> float:
    """Seconds that every plan costs at least, the best of several bounds.

    best_s    seconds of a plan: the bound is not improved any more once it is within a share of 1e-9 of it
    budget_s  seconds after which nothing new is begun

    The cheapest exchange of each device, links to devices without near ones, compute and waiting bound all plans;
    profiles (profiles.py) weigh exchange and links where devices come in clusters. Raises ConfigError without SciPy.
    """
    try:
        import scipy  # noqa: F401
    except ImportError:
        raise ConfigError("a bound needs SciPy: pip install 'fmcompress[schedule]'.") from None
    end = time.monotonic() + budget_s
    parts = Parts(tables)
    bound = parts.total(parts.exchange_s, parts.links)
    for label in parts.clusterings():
        if bound >= best_s * (1 - EQUAL) or time.monotonic() > end:
            break
        profiles = Profiles.of(label, parts.hand_over, parts.times, parts.replicas, parts.links, parts.total)
        if profiles is not None:
            bound = max(bound, profiles.bound(best_s, end))
    return min(bound, best_s)


class Parts:
    """What each term of the cost is at least.

    times       [devices, devices] s that a device exchanges with another
    exchange_s  of the slowest group
    links       [stages - 1] falling: at least 1, 2, … of a plan's links take so many seconds
    """

    def __init__(self, tables: Problem) -> None:
        latency, per_byte, self.hand_over, self.occupied = tables.links.numpy()
        self.stages, self.replicas, self.devices = len(tables.gradient_bytes), tables.replicas, len(latency)
        self.idle = self.devices - self.stages * self.replicas
        self.times = latency + float(tables.gradient_bytes.min()) * per_byte
        self.exchange_s = self._exchange()
        self.links = self._links()
        self.micro_batches = tables.micro_batches
        self._compute(tables.compute.numpy())

    def total(self, exchange_s: float, links: Matrix) -> float:
        """Seconds of a step that has them.

        Waiting grows with all that ops.waiting_s counts it from. And micro-batches may make the whole round trip in
        waves of as many as there are stages; those of the last wave leave the busiest stage one after another.
        """
        once = float(links.sum()) + self.compute_s
        waves, rest = divmod(self.micro_batches - 1, self.stages)
        return float(exchange_s) + once + max(self.waiting_s, waves * once + rest * self.busiest_s)

    def clusterings(self) -> list[NDArray[np.int64]]:
        """[devices] numbers of clusters, for a few cuts of the tree of near devices, largest jumps first."""
        from scipy.cluster.hierarchy import fcluster

        if self.stages < 2 or self.devices < 3:
            return []
        merges = self.tree[:, 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            jumps = np.nan_to_num(merges[1:] / merges[:-1], nan=1.0)
        cuts = np.argsort(-jumps, kind="stable")[:CUTS]
        return [fcluster(self.tree, merges[cut], "distance").astype(np.int64) - 1 for cut in cuts if jumps[cut] > 1]

    def _exchange(self) -> float:
        """The slowest group has a device that is not among the cheapest tasklets - 1 ones."""
        others = self.times + np.diag(np.full(self.devices, np.inf))
        sums = np.sort(others, 1)[:, : self.replicas - 1].sum(1)
        return float(np.sort(sums)[self.stages * self.replicas - 1])

    def _links(self) -> Matrix:
        """[stages - 1] what the slowest link, the second slowest, … take at least.

        Where links of less than t seconds join the groups to s stretches of the path, s - 1 links take t or more.
        """
        from scipy.cluster.hierarchy import linkage
        from scipy.spatial.distance import squareform

        least = np.zeros(self.stages - 1)
        if self.stages < 2:
            return least
        self.tree = linkage(squareform(self.hand_over, checks=False), "single")
        for step, stretches in (*self._by_degree(), *self._by_component()):
            slow = min(max(stretches - 1, 0), self.stages - 1)
            least[:slow] = np.maximum(least[:slow], step)
        return least

    def _by_degree(self) -> list[tuple[float, int]]:
        """A group inside a stretch has devices with two near others; with one, it ends one; with none, it is one."""
        others = np.sort(self.hand_over + np.diag(np.full(self.devices, np.inf)), 1)[:, :2]
        first, second = np.sort(others[:, 0]), np.sort(others[:, -1] if self.devices > 2 else others[:, 0])
        found = []
        for step in np.unique(others[np.isfinite(others)]):
            without = self.devices - int(np.searchsorted(first, step)) - self.idle
            with_one = self.devices - int(np.searchsorted(second, step)) - self.idle
            alone = max(0, ceil(without, self.replicas))
            ends = max(0, ceil(with_one, self.replicas) - alone)
            found.append((float(step), alone + max(ceil(ends, 2), int(alone < self.stages))))
        return found

    def _by_component(self) -> list[tuple[float, int]]:
        """Pipelines stay inside components of near devices in each stretch, and no stretch is longer than the path."""
        size, found = dict.fromkeys(range(self.devices), 1), []
        pipelines = self.devices
        for merge, (a, b, step, together) in enumerate(self.tree):
            found.append((float(step), ceil(pipelines - self.idle, self.replicas)))
            size[self.devices + merge] = int(together)
            parts = (size[int(number)] for number in (a, b))
            pipelines += ceil(int(together), self.stages) - sum(ceil(part, self.stages) for part in parts)
        return found

    def _compute(self, compute: Matrix) -> None:
        """Seconds of all stages together, of the busiest stage or link, and waiting for the stages one by one."""
        last = self.stages * self.replicas
        by_device = np.sort(compute.min(0))[self.replicas - 1 : last : self.replicas]  # each doing its easiest stage
        by_stage = np.sort(compute, 1)[:, self.replicas - 1]
        self.compute_s = float(max(by_device.sum(), by_stage.sum()))
        between = self.stages - 1
        fastest = self.links.min(initial=np.inf)
        busy = float(self.occupied[~np.eye(self.devices, dtype=bool)].min()) if between else 0.0
        self.waiting_s = ops.waiting_s(by_stage.tolist(), [fastest] * between, [busy] * between, self.micro_batches)
        self.busiest_s = max(float(by_device.max()), float(by_stage.max()), busy)


def ceil(number: int, by: int) -> int:
    """The quotient of two whole numbers, rounded up."""
    return -(-number // by)
