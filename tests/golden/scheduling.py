"""The truth of planning in float64 loops: what groups cost, and the least over all plans of a small network."""

from itertools import combinations, pairwise, permutations
from typing import NamedTuple

import numpy as np


class Work(NamedTuple):
    """A workload; gradient_bytes, flops, state_bytes and stored_bytes are one number a stage."""

    stages: int
    replicas: int
    activation_bytes: float
    gradient_bytes: tuple
    micro_batches: int = 1
    flops: tuple = ()
    state_bytes: tuple = ()
    stored_bytes: tuple = ()


class Net(NamedTuple):
    """Delays in s and bandwidths in bits a second, [devices, devices]; speeds and memories of devices or nothing."""

    delay: np.ndarray
    bandwidth: np.ndarray
    flops_per_s: tuple = ()
    memory_bytes: tuple = ()


def there_and_back(net, a, b, nbytes):
    """Seconds for so many bytes from a to b, and as many from b to a afterwards."""
    there = net.delay[a][b] + 8 * nbytes / net.bandwidth[a][b]
    return there + net.delay[b][a] + 8 * nbytes / net.bandwidth[b][a]


def exchange(net, group, gradient_bytes, at_once=False):
    """The slowest device's seconds: to each other one its part of the gradients, and back (Yuan et al. 2022, eq. 1).

    at_once  messages do not wait for each other's delays: each phase has one, the mean of those to the others
    """
    part, slowest = gradient_bytes / len(group), 0.0
    for d in group:
        others = [e for e in group if e != d]
        delays = sum(net.delay[d][e] + net.delay[e][d] for e in others)
        sending = sum(there_and_back(net, d, e, part) for e in others) - delays
        slowest = max(slowest, sending + (delays / max(1, len(others)) if at_once else delays))
    return slowest


def link(net, here, there, activation_bytes):
    """(slowest hand-over of the best pairing, longest time that a direction is busy in the pairing that is best in that)."""

    def pair_busy(a, b):
        return 8 * activation_bytes / min(net.bandwidth[a][b], net.bandwidth[b][a])

    def slowest(of_pair):
        return min(max(of_pair(*pair) for pair in zip(here, order, strict=True)) for order in permutations(there))

    return slowest(lambda a, b: there_and_back(net, a, b, activation_bytes)), slowest(pair_busy)


def paper_cost(net, work, groups):
    """(total, exchange, hand-over) of groups in the order that suits them best."""
    slowest = max(exchange(net, group, sent) for group, sent in zip(groups, work.gradient_bytes, strict=True))
    steps = {
        pair: link(net, groups[pair[0]], groups[pair[1]], work.activation_bytes)[0]
        for pair in permutations(range(work.stages), 2)
    }
    path = min(sum(steps[pair] for pair in pairwise(order)) for order in permutations(range(work.stages)))
    return slowest + path, slowest, path


def compute_s(net, work, stage, device):
    """Seconds of a micro-batch; infinite where the stage and what 1F1B keeps of micro-batches do not fit."""
    in_flight = min(work.stages - stage, work.micro_batches)
    needed = (work.state_bytes[stage] if work.state_bytes else 0) + in_flight * (
        work.stored_bytes[stage] if work.stored_bytes else 0
    )
    if net.memory_bytes and needed > net.memory_bytes[device]:
        return np.inf
    return work.flops[stage] / work.micro_batches / net.flops_per_s[device] if net.flops_per_s and work.flops else 0.0


def round_trip(compute, steps, busy, s, t):
    """Seconds of a micro-batch from stage s to stage t and back, with what it may wait for its turn at both ends."""
    before, after = busy[s - 1] if s else 0.0, busy[t] if t < len(busy) else 0.0
    way = sum(compute[s : t + 1]) + sum(steps[s:t])
    if s == t:
        return way + max(0.0, before + after - compute[s])
    return way + max(0.0, before - compute[s] / 2) + max(0.0, after - compute[t] / 2)


def waiting(compute, steps, busy, micro_batches):
    """The longest chain of round trips, t - s + 1 micro-batches each, for all but the first; begins at the last stage."""
    stages, others = len(compute), micro_batches - 1
    trips = [(t - s + 1, t == stages - 1, round_trip(compute, steps, busy, s, t)) for s in range(stages) for t in range(s, stages)]  # fmt: skip
    longest = {0: 0.0}
    for count in range(1, others):
        longest[count] = max(seconds + longest[count - k] for k, _, seconds in trips if k <= count)
    chains = [seconds + longest[others - k] for k, last, seconds in trips if last and k <= others]
    return max([0.0, *chains, others * max([*compute, *busy])])


def extended_cost(net, work, groups):
    """(total, exchange, hand-over, compute, waiting) of groups in the order of their stages."""
    message = work.activation_bytes / work.micro_batches
    slowest = max(exchange(net, group, sent, True) for group, sent in zip(groups, work.gradient_bytes, strict=True))
    links = [link(net, here, there, message) for here, there in pairwise(groups)]
    compute = [max(compute_s(net, work, stage, d) for d in group) for stage, group in enumerate(groups)]
    steps = [seconds for seconds, _ in links]
    late = waiting(compute, steps, [busy for _, busy in links], work.micro_batches)
    return slowest + sum(steps) + sum(compute) + late, slowest, sum(steps), sum(compute), late


def partitions(devices, stages, replicas):
    """All sets of so many groups of so many devices; with more devices, every choice of the idle ones."""

    def rest(left, groups):
        if not groups:
            yield ()
            return
        for group in combinations(left[1:], replicas - 1):
            others = [d for d in left[1:] if d not in group]
            yield from (((left[0], *group), *further) for further in rest(others, groups - 1))

    for chosen in combinations(range(devices), stages * replicas):
        yield from rest(list(chosen), stages)


def cheapest_paper(net, work):
    """(least cost, its groups in order) over all plans; for all stages' gradients of one size."""
    devices, sent = len(net.delay), work.gradient_bytes[0]
    groups = list(combinations(range(devices), work.replicas))
    exchanges = {group: exchange(net, group, sent) for group in groups}
    steps = {}
    for here, there in combinations(groups, 2):
        if not set(here) & set(there):
            steps[here, there] = steps[there, here] = link(net, here, there, work.activation_bytes)[0]
    best = np.inf, ()
    for parts in partitions(devices, work.stages, work.replicas):
        slowest = max(exchanges[group] for group in parts)
        for order in permutations(parts):
            seconds = slowest + sum(steps[pair] for pair in pairwise(order))
            best = min(best, (seconds, order))
    return best


def cheapest_extended(net, work):
    """(least cost, its groups by stage) over all plans and orders."""
    devices, message = len(net.delay), work.activation_bytes / work.micro_batches
    groups = list(combinations(range(devices), work.replicas))
    stages = range(work.stages)
    exchanges = {(s, group): exchange(net, group, work.gradient_bytes[s], True) for s in stages for group in groups}
    computes = {(s, group): max(compute_s(net, work, s, d) for d in group) for s in stages for group in groups}
    links = {}
    for here, there in permutations(groups, 2):
        if not set(here) & set(there):
            links[here, there] = link(net, here, there, message)
    best = np.inf, ()
    for parts in partitions(devices, work.stages, work.replicas):
        for order in permutations(parts):
            pairs = [links[pair] for pair in pairwise(order)]
            compute = [computes[place] for place in enumerate(order)]
            steps = [seconds for seconds, _ in pairs]
            seconds = max(exchanges[place] for place in enumerate(order)) + sum(steps) + sum(compute)
            if seconds < best[0]:
                late = waiting(compute, steps, [busy for _, busy in pairs], work.micro_batches)
                best = min(best, (seconds + late, order))
    return best
