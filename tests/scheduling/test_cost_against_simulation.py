"""The extended cost, term for term a formula, held against the simulated iteration."""

from itertools import product

import numpy as np
import pytest

from fmcompress.scheduling import Network, Workload
from fmcompress.scheduling.plan import planned
from fmcompress.scheduling.simulate import simulate

GB = 1e9 / 8  # bytes that take a second at 1e9 bits a second


def ratios(replicas):
    """Cost / simulation of the pipelines and of all, over sizes, uneven devices, and slow and fast links."""
    pipelined, all_of_it = [], []
    for stages, micro_batches, link_s, spread, latency in product(
        (2, 4, 8), (1, 2, 4, 8, 32), (0.01, 0.3, 3), (0, 0.5), (0.05, 0.5, 0.95)
    ):
        devices, chance = stages * replicas, np.random.default_rng([stages, micro_batches, replicas, int(100 * link_s)])
        seconds = link_s * (1 + spread * chance.uniform(-1, 1, (devices, devices)))  # one way, of a micro-batch
        network = Network(
            seconds * latency, 1e9 / (seconds * (1 - latency)), flops_per_s=1e12 * (1 + spread * chance.random(devices))
        )
        workload = Workload(stages, replicas, micro_batches * GB, 2 * GB, micro_batches, flops=1e12 * micro_batches)
        plan = planned(network, workload, np.repeat(np.arange(stages), replicas), "extended")
        done = simulate(network, plan)
        pipelined.append((plan.cost_s - plan.cost.exchange_s) / done.pipeline_s)
        all_of_it.append(plan.cost_s / done.total_s)
    return np.array(pipelined), np.array(all_of_it)


@pytest.mark.parametrize("replicas", [1, 2, 4])
def test_the_extended_cost_is_near_the_simulation(replicas):
    """Below where ports are short: who waits for whom is not regular. Above where pipelines differ, since every stage
    and link counts as its slowest.
    """
    pipelined, all_of_it = ratios(replicas)
    for values, most in zip((pipelined, all_of_it), (1.2, 1.3), strict=True):
        assert values.min() > 0.75
        assert values.max() < most
        assert np.quantile(values, 0.05) > 0.98
        assert np.quantile(values, 0.5) == pytest.approx(1, abs=0.06)
    assert np.sqrt(np.mean(np.log(pipelined) ** 2)) < 0.05  # a typical relative error
