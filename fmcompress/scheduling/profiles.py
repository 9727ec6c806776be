"""A bound on plans from profiles: how many devices of each cluster of near devices a group has.

Groups that a link of at most t seconds joins have each of their devices within t of one of the other group, so equal
profiles wherever clusters are farther apart than t. Groups of one profile cannot be many: they use up their clusters.
So plans whose groups exchange gradients quickly have slow links, and the bound weighs the one against the other.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush

import numpy as np
from numpy.typing import NDArray

from .listing import Counts, Matrix, exchange_of, matching, profiles_of

Total = Callable[[float, Matrix], float]  # seconds of a step from those of the exchange and of each link

MOST_PROFILES = 20_000  # that are listed for one choice of clusters
MOST_ENTRIES = 4_000_000  # of profiles times devices
MOST_PAIRS = 1_000_000  # of profiles that are compared with each other
MOST_SWITCHES = 20  # sets of profiles up to which the fewest are found by branching, else by the first bound
MOST_NODES = 60  # of a branching
EQUAL = 1e-9  # share of the best plan up to which the bound has met it


@dataclass(frozen=True)
class Profiles:
    """Clusters of devices, and the profiles that groups can have.

    sizes     [clusters] devices of each
    between   [clusters, clusters] least hand-over from one to the other; 0 on the diagonal
    counts    [profiles, clusters] by rising exchange
    exchange  [profiles] least seconds
    stages    groups of a plan
    whole     whether a plan uses all devices
    least     [stages - 1] falling: at least 1, 2, … links of any plan take so many seconds
    total     seconds of a step
    """

    sizes: Counts
    between: Matrix
    counts: Counts
    exchange: Matrix
    stages: int
    whole: bool
    least: Matrix
    total: Total

    @classmethod
    def of(
        cls, label: Counts, hand_over: Matrix, times: Matrix, replicas: int, least: Matrix, total: Total
    ) -> "Profiles | None":
        """The profiles of clusters; None where they are too many to be listed.

        label  [devices] number of the cluster
        times  [devices, devices] s that one device exchanges with another
        """
        sizes, stages = np.bincount(label), len(least) + 1
        counts = profiles_of(sizes, replicas, min(MOST_PROFILES, MOST_ENTRIES // len(label)))
        if counts is None:
            return None
        exchange = exchange_of(counts, label, times)
        order = np.argsort(exchange, kind="stable")
        members = [np.flatnonzero(label == cluster) for cluster in range(len(sizes))]
        between = np.array([[0.0 if a is b else hand_over[np.ix_(a, b)].min() for b in members] for a in members])
        whole = len(label) == stages * replicas
        return cls(sizes, between, counts[order], exchange[order], stages, whole, least, total)

    def bound(self, best_s: float, end: float) -> float:
        """No plan costs less. Ends early where that is best_s, and at the end of the time with what is known then."""
        fewest, few_s = self.one_or_two(best_s, end) if self.whole else (1, np.inf)
        values = np.unique(self.exchange)
        ranges: list[tuple[float, int, int, list[float]]] = []  # plans that exchange for values[low] to values[high]
        known: set[int] = set()  # values for which the links are known

        def add(low: int, high: int, links: Matrix | None) -> None:
            if links is not None:
                heappush(ranges, (self.total(values[low], links), low, high, links.tolist()))

        add(0, len(values) - 1, self.least)
        while ranges:
            found, low, high, slowest = ranges[0]
            if found >= min(few_s, best_s * (1 - EQUAL)) or (low == high and high in known) or time.monotonic() > end:
                return min(found, few_s)
            heappop(ranges)
            links = np.array(slowest)
            while high > low and self.total(values[high], links) >= best_s * (1 - EQUAL):
                high -= 1  # the others cost more than the best plan
            if high in known:
                middle = (low + high) // 2
                add(middle + 1, high, links)
                high = middle
            known.add(high)
            add(low, high, self.links(values[high], fewest, end))
        return min(few_s, best_s)

    def links(self, exchange_s: float, fewest: int, end: float) -> Matrix | None:
        """[stages - 1] seconds of the links, falling, if no group exchanges for longer; None: there is no such plan.

        fewest  distinct profiles at least
        """
        kept = self.counts[: np.searchsorted(self.exchange, exchange_s, "right")]
        slowest = self.least.copy()
        steps = np.unique(self.between[np.triu_indices(len(self.sizes), 1)])
        names, sets = np.arange(len(kept)), len(kept) + 1
        for number, step in enumerate(steps):  # links of less than this join nothing but sets of one name
            if number:
                names = self.joined(kept, names, self.between < step)
            if names.max(initial=0) + 1 < sets:
                sets = int(names.max(initial=0)) + 1
                used = self.fewest_sets(kept, names, end)
                used = max(used, fewest) if used and not number else used
            if used == 0:
                return None
            if used == 1:
                break
            slowest[: used - 1] = np.maximum(slowest[: used - 1], step)
        return slowest

    def joined(self, kept: Counts, names: Counts, near: NDArray[np.bool_]) -> Counts:
        """[kept] names of sets of profiles, after those that links between near clusters can join have become one."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        merged = connected_components(near)[1]
        sums = np.stack([kept[:, merged == cluster].sum(1) for cluster in range(merged.max() + 1)], 1)
        alike = np.unique(sums, axis=0, return_inverse=True)[1].ravel()  # others cannot be joined
        sizes = np.bincount(alike)
        if (sizes**2).sum() > 2 * MOST_PAIRS:
            return alike
        order, starts = np.argsort(alike, kind="stable"), np.cumsum(sizes) - sizes
        pairs = [start + np.stack(np.triu_indices(size, 1)) for start, size in zip(starts, sizes, strict=True)]
        first, second = order[np.concatenate(pairs, 1)]
        apart = names[first] != names[second]
        first, second = first[apart], second[apart]
        at = matching(kept, kept, first, second, near)
        graph = coo_array((np.ones(len(at)), (names[first[at]], names[second[at]])), shape=(names.max() + 1,) * 2)
        return connected_components(graph, directed=False)[1][names]

    def fewest_sets(self, kept: Counts, names: Counts, end: float) -> int:
        """At least how many of the named sets of profiles the groups of a plan have; 0: no plan has such profiles.

        By branching on whether a set is used, best bound first, until a solution has as many as its bound. A group is
        at least 1 / room of its set; of a set that is known to be used, groups are free.
        """
        sets = int(names.max(initial=-1)) + 1
        least = np.full((sets, len(self.sizes)), self.sizes.max())
        np.minimum.at(least, names, kept)
        share = 1 / np.maximum(self._groups(least), 1)
        many = self._groups(kept)
        nodes: list[tuple[int, int, tuple[int, ...], tuple[int, ...], list[int]]] = []

        def add(used: tuple[int, ...], unused: tuple[int, ...]) -> None:
            free = share.copy()
            free[list(used)] = 0
            groups = self._cover(kept, free[names], np.where(np.isin(names, unused), 0, many))
            if groups is not None:
                found = np.bincount(names, groups, sets)
                bound = len(used) + int(np.ceil(found @ free - 1e-6))
                more = [int(at) for at in np.argsort(-found) if found[at] > 1e-6 and at not in used]
                heappush(nodes, (bound, -len(used), used, unused, more))

        add((), ())
        for _ in range(MOST_NODES if sets <= MOST_SWITCHES else 1):
            if not nodes or len(nodes[0][2]) + len(nodes[0][4]) <= nodes[0][0] or time.monotonic() > end:
                break
            _, _, used, unused, more = heappop(nodes)
            add((*used, more[0]), unused)
            add(used, (*unused, more[0]))
        return max(nodes[0][0], 1) if nodes else 0

    def _cover(self, kept: Counts, cost: Matrix, most: Counts) -> Matrix | None:
        """[kept] groups of each profile, in parts too, that use the clusters up at least cost; None: there are none."""
        from scipy.optimize import linprog

        if not len(kept):
            return None
        stages = {"A_eq": np.ones((1, len(kept))), "b_eq": [self.stages]}
        if self.whole:
            rows = {"A_eq": np.concatenate([stages["A_eq"], kept.T]), "b_eq": [self.stages, *self.sizes]}
        else:
            rows = {**stages, "A_ub": kept.T, "b_ub": self.sizes}
        found = linprog(cost, **rows, bounds=np.stack([np.zeros(len(kept)), most], 1), method="highs")
        if found.status == 2:
            return None
        return found.x if found.status == 0 else np.zeros(len(kept))  # not solved: nothing is known of it

    def _groups(self, profiles: Counts) -> Counts:
        """[profiles] how many groups of each there can be."""
        each = np.where(profiles > 0, self.sizes // np.maximum(profiles, 1), self.stages)
        return each.min(1).clip(max=self.stages)

    def one_or_two(self, best_s: float, end: float) -> tuple[int, float]:
        """(distinct profiles of all other plans at least, seconds of plans that have fewer) where no device is idle."""
        numbers = {profile.tobytes(): number for number, profile in enumerate(self.counts)}
        even = numbers.get((self.sizes // self.stages).tobytes()) if not (self.sizes % self.stages).any() else None
        one_s = np.inf if even is None else self.total(self.exchange[even], self.least)
        pairs = set()
        for many in range(1, self.stages // 2 + 1):
            rest = self.sizes - many * self.counts
            fits = (rest >= 0).all(1) & (rest % (self.stages - many) == 0).all(1)
            for number in np.flatnonzero(fits):
                other = numbers[(rest[number] // (self.stages - many)).tobytes()]
                if other != number:
                    pairs.add((min(number, other), max(number, other)))
        if not pairs:
            return min(self.stages, 3), one_s
        first, second = np.array(sorted(pairs)).T
        left, two_s = np.arange(len(first)), np.inf
        for step in np.unique(self.between)[1:]:
            if time.monotonic() > end:
                return min(self.stages, 2), one_s
            at = left[matching(self.counts, self.counts, first[left], second[left], self.between <= step)]
            if len(at):
                links = self.least.copy()
                links[0] = max(links[0], step)
                two_s = min(two_s, self.total(self.exchange[np.maximum(first[at], second[at])].min(), links))
                left = np.setdiff1d(left, at)
        return min(self.stages, 3), min(one_s, two_s)
