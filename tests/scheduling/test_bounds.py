"""Bounds: never above the cheapest of all plans, equal to it where they prove it, and each argument by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_networks import KINDS, SHAPES, drawn, least_of, work

from fmcompress.scheduling import Network, Workload, problem
from fmcompress.scheduling.bounds import Parts, lower_bound
from fmcompress.scheduling.files import read_network, read_workload
from fmcompress.scheduling.listing import exchange_of, matching, profiles_of

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "schedule"


def plain(tables):
    """The bound without profiles."""
    parts = Parts(tables)
    return parts.total(parts.exchange_s, parts.links)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_no_plan_costs_less(shape, kind):
    chance = np.random.default_rng([*shape, KINDS.index(kind)])
    for _ in range(12):  # 252 networks in all
        network, workload = drawn(SHAPES[shape], chance, kind), work(shape, chance)
        tables, least = problem(network, workload), least_of(network, workload, "paper")
        alone, knowing = lower_bound(tables), lower_bound(tables, least)
        assert plain(tables) <= alone * (1 + 1e-12)
        assert alone <= knowing * (1 + 1e-9)
        assert knowing <= least
        assert alone >= (1 - 1e-9) * least or kind != "equal"  # proven: all plans cost the same
        assert lower_bound(tables, least, budget_s=0) <= least  # with no time left


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(2, 4), (3, 2), (2, 2), (1, 6), (5, 1)], ids=str)
def test_no_extended_plan_costs_less(shape, kind):
    """Micro-batches, stages and devices of unequal size, memory."""
    chance = np.random.default_rng([1, *shape, KINDS.index(kind)])
    for _ in range(5):
        devices = min(SHAPES.get(shape, 6), shape[0] * shape[1] + 1)
        network, workload = drawn(devices, chance, kind), work(shape, chance, "extended")
        if devices > shape[0] * shape[1]:
            network = replace(network, memory_bytes=[1e9, *[4e9] * (devices - 1)])
            workload = replace(workload, state_bytes=2e9)
        tables, least = problem(network, workload, "extended"), least_of(network, workload, "extended")
        assert 0 < plain(tables) <= lower_bound(tables) * (1 + 1e-12) <= least * (1 + 1e-9)
        assert lower_bound(tables, least) <= least


OPTIMA = {"data-centre": 3.43980, "spot": 31.63410, "universities": 16.08681, "regions": 34.80197}


@pytest.mark.parametrize("name", OPTIMA)
def test_four_of_the_papers_networks_are_proven(name):
    """Without having been told the optimum."""
    tables = problem(read_network(EXAMPLES / f"{name}.yaml"), read_workload(EXAMPLES / "gpt3-xl.yaml"))
    assert lower_bound(tables, budget_s=60) == pytest.approx(OPTIMA[name], abs=1e-5)


def test_the_fifth_is_bounded():
    tables = problem(read_network(EXAMPLES / "world-wide.yaml"), read_workload(EXAMPLES / "gpt3-xl.yaml"))
    assert plain(tables) < 32
    assert 45.8 < lower_bound(tables, 49.218313, budget_s=60) <= 49.218313


@pytest.mark.parametrize("devices", [512, 1024])
def test_large_networks_have_a_bound(devices):
    network = drawn(devices, np.random.default_rng(0), "islands")
    tables = problem(network, Workload(16, devices // 16, 1e9, 1e9))
    assert 0 < plain(tables) <= lower_bound(tables, budget_s=1)


def links_of(hand_over, stages, replicas):
    """What the links take at least where only delays count."""
    delay = np.array(hand_over, dtype=float) / 2
    np.fill_diagonal(delay, 0)
    return Parts(
        problem(Network(delay, np.full(delay.shape, 1e30)), Workload(stages, replicas, 0.0, 0.0))
    ).links.tolist()


def near(devices, pairs, fast=1.0, slow=5.0):
    matrix = np.full((devices, devices), slow)
    for a, b in pairs:
        matrix[a, b] = matrix[b, a] = fast
    return matrix


def test_lonely_devices_have_slow_links():
    assert links_of(near(6, [(0, 1), (1, 2), (0, 2)]), 3, 2) == [5, 5]  # 3 to 5 fill two groups, of a path of three
    assert links_of(near(7, [(0, 1), (1, 2), (0, 2)]), 3, 2) == [5, 5]  # one of four stays idle
    assert links_of(near(8, [(0, 1), (1, 2), (0, 2), (3, 4), (4, 5), (3, 5)]), 3, 2) == [1, 1]  # both do
    # each device has one near other: no group has two fast links
    assert links_of(near(8, [(0, 1), (2, 3), (4, 5), (6, 7)]), 4, 2) == [5, 1, 1]
    # pipelines of four do not fit into components of three
    assert links_of(near(12, [(a, b) for a in range(12) for b in range(a) if a // 3 == b // 3]), 4, 3) == [5, 1, 1]


def test_profiles_are_all_there():
    assert profiles_of(np.array([2, 1, 3]), 3, 99).tolist() == [[0, 0, 3], [0, 1, 2], [1, 0, 2], [1, 1, 1], [2, 0, 1], [2, 1, 0]]  # fmt: skip
    assert profiles_of(np.array([8] * 8), 8, 6435).shape == (6435, 8)
    assert profiles_of(np.array([8] * 8), 8, 6434) is None


def test_the_exchange_of_profiles_is_that_of_groups():
    """Of three devices that are 1 apart and two that are 2 apart, 10 from the others."""
    label = np.array([0, 0, 0, 1, 1])
    times = np.where(label[:, None] == label, np.where(label == 0, 1.0, 2.0), 10.0)
    profiles = np.array([[3, 0], [2, 1], [1, 2]])
    assert exchange_of(profiles, label, times).tolist() == [2.0, 20.0, 20.0]


def test_profiles_match_along_near_clusters():
    counts, line = np.array([[2, 0, 0], [0, 2, 0], [1, 0, 1], [1, 1, 0]]), np.eye(3, dtype=bool)
    line[0, 1] = line[1, 0] = line[1, 2] = line[2, 1] = True
    first, second = np.triu_indices(4, 1)
    matched = matching(counts, counts, first, second, line)
    pairs = {(int(first[at]), int(second[at])) for at in matched}
    assert pairs == {(0, 1), (0, 3), (1, 2), (1, 3), (2, 3)}  # not two of the first to one of the third
