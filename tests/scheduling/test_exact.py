"""Exact plans: as cheap as the cheapest of all plans, proven, and the same ones each time."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from small_networks import KINDS, drawn, least_of, work

from fmcompress.errors import ConfigError
from fmcompress.scheduling import Network, Workload, cost, schedule
from fmcompress.scheduling.exact import MOST_DEVICES, exact


def test_more_devices_are_refused():
    pytest.importorskip("ortools", reason="OR-tools is not installed")
    network = drawn(MOST_DEVICES + 1, np.random.default_rng(0))
    with pytest.raises(ConfigError, match="at most 16 devices, and the network has 17"):
        exact(network, Workload(2, 2, 1.0, 1.0))


def test_without_ortools_the_way_to_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ortools.sat.python", None)
    with pytest.raises(ConfigError, match=r"needs OR-tools .*pip install 'fmcompress\[schedule-exact\]'"):
        exact(drawn(4, np.random.default_rng(0)), Workload(2, 2, 1.0, 1.0))


@pytest.fixture
def ortools():
    pytest.importorskip("ortools", reason="OR-tools is not installed")


SHAPES = {(2, 4): 8, (4, 2): 8, (2, 3): 8, (3, 2): 7, (5, 1): 6, (1, 4): 5}  # devices


@pytest.mark.usefixtures("ortools")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("model", ["paper", "extended"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_exact_is_the_cheapest_of_all_plans(shape, model, kind):
    chance = np.random.default_rng([3, *shape, KINDS.index(kind)])
    for _ in range(3):
        network, workload = drawn(SHAPES[shape], chance, kind), work(shape, chance, model)
        if model == "extended" and SHAPES[shape] > workload.tasklets:
            network = replace(network, memory_bytes=[1e9, *[4e9] * (len(network) - 1)])
            workload = replace(workload, state_bytes=2e9)
        plan, least = exact(network, workload, model), least_of(network, workload, model)
        assert plan.cost_s == pytest.approx(least, rel=1e-6)
        assert (plan.found, plan.stopped) == ("exact", "bound")
        assert plan.lower_bound_s <= least * (1 + 1e-12)
        assert plan.gap < 1e-6
        assert cost(network, workload, plan.stage_of, plan.replica_of, model) == plan.cost


def slow_or_busy():
    """Two ways between stages of three: one that takes longer by its delay, and a faster one that is always busy."""
    delay, speed = np.full((6, 6), 9.0), np.full((6, 6), 1e9)
    for first, seconds, bandwidth in ((0, 4.95, 8e10), (1, 0.05, 8e9 / 4.9)):
        for a, b in ((first, first + 2), (first + 2, first + 4)):
            delay[a, b] = delay[b, a] = seconds
            speed[a, b] = speed[b, a] = bandwidth
    return Network(delay, speed), Workload(3, 2, 9e9, 1.0, 9)


@pytest.mark.usefixtures("ortools")
def test_links_cost_what_their_best_pairings_do():
    """One pairing hands over fastest, another keeps its links least busy: each counts by itself."""
    network, workload = slow_or_busy()
    for changed in (network, replace(network, delay_s=np.where(network.delay_s == 4.95, 4.5, network.delay_s))):
        plan = exact(changed, workload, "extended")
        assert plan.cost_s == pytest.approx(least_of(changed, workload, "extended"), rel=1e-6)
        assert plan.stopped == "bound"


@pytest.mark.usefixtures("ortools")
def test_twelve_devices_and_a_hint():
    network, workload = drawn(12, np.random.default_rng(5)), Workload(4, 3, 3e8, 3e8)
    plan = exact(network, workload)
    hint = schedule(network, workload, budget_s=1)
    assert plan.stopped == "bound"
    assert plan.cost_s <= hint.cost_s * (1 + 1e-9)
    assert exact(network, workload, hint=hint).cost_s == pytest.approx(plan.cost_s, rel=1e-6)
    assert exact(network, workload) == plan  # the same one again
    with pytest.raises(ConfigError, match="hint: expected a plan of 13 devices, got 12"):
        exact(drawn(13, np.random.default_rng(0)), workload, hint=hint)


@pytest.mark.usefixtures("ortools")
def test_without_time_the_known_plan_is_told_with_what_is_known():
    network, workload = drawn(12, np.random.default_rng(5)), Workload(4, 3, 3e8, 3e8)
    plan = exact(network, workload, budget_s=0)
    assert plan.stopped == "budget"
    assert 0 < plan.lower_bound_s < plan.cost_s
