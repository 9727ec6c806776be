"""What a plan costs: both back-ends against the truth, both models, and what must hold for every network."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from golden import scheduling as truth
from hypothesis import given, settings
from hypothesis import strategies as some
from small_networks import BACKENDS, KINDS, SHAPES, any_stages, drawn, groups_of, told, work

from fmcompress import ops, use
from fmcompress.errors import ConfigError
from fmcompress.scheduling import Network, Workload, cost, problem
from fmcompress.scheduling.cost import pipelines
from fmcompress.scheduling.plan import planned, recosted

seeds = some.integers(0, 2**32 - 1)
models = some.sampled_from(["paper", "extended"])


def terms(network, workload, stage_of, model, free_order=None):
    """(stage_of in the order that the op chose, its five terms)."""
    tables = problem(network, workload, model)
    rest = tables.links, tables.compute, tables.gradient_bytes, tables.micro_batches
    free = tables.free_order if free_order is None else free_order
    ordered, seconds = ops.plan_cost(torch.as_tensor(stage_of), *rest, free)
    return ordered.numpy(), seconds.numpy()


def case(seed, model):
    """(network, workload, stages) of any shape and kind."""
    chance = np.random.default_rng(seed)
    shape = list(SHAPES)[chance.integers(len(SHAPES))]
    network = drawn(SHAPES[shape], chance, KINDS[chance.integers(len(KINDS))])
    return network, work(shape, chance, model), any_stages(SHAPES[shape], shape, chance)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("seed", range(60))
def test_the_papers_cost_is_true(backend, seed):
    network, workload, stage_of = case(seed, "paper")
    with use(backend):
        ordered, seconds = terms(network, workload, stage_of, "paper")
    assert seconds[:3] == pytest.approx(truth.paper_cost(*told(network, workload), groups_of(stage_of)), rel=1e-12)
    assert not seconds[3:].any()
    # the groups are the same ones, and cost as much in the order that was chosen
    assert {*groups_of(ordered)} == {*groups_of(stage_of)}
    assert terms(network, workload, ordered, "paper", free_order=False)[1] == pytest.approx(seconds, rel=1e-12)
    assert (ordered == -1).tolist() == (stage_of == -1).tolist()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("seed", range(60))
def test_the_extended_cost_is_true(backend, seed):
    network, workload, stage_of = case(seed, "extended")
    with use(backend):
        ordered, seconds = terms(network, workload, stage_of, "extended", free_order=False)
    assert seconds == pytest.approx(truth.extended_cost(*told(network, workload), groups_of(stage_of)), rel=1e-12)
    assert np.array_equal(ordered, stage_of)


@pytest.mark.parametrize("backend", BACKENDS)
def test_too_little_memory_is_infinite(backend):
    network = replace(drawn(4, np.random.default_rng(0)), memory_bytes=[1e9, 3e9, 3e9, 3e9])
    workload = Workload(2, 2, 1e6, 1e6, 4, state_bytes=[2e9, 1e9], stored_bytes=0.0, flops=1e9)
    with use(backend):
        for stages, fits in (([0, 0, 1, 1], False), ([1, 0, 0, 1], True)):
            seconds = terms(network, workload, stages, "extended")[1]
            assert np.isfinite(seconds[0]) == fits
            assert np.isfinite(truth.extended_cost(*told(network, workload), groups_of(np.array(stages)))[0]) == fits
    # 1F1B keeps a micro-batch more at the first stage
    workload = replace(workload, state_bytes=0.5e9, stored_bytes=0.4e9)
    assert np.isfinite(terms(network, workload, [1, 0, 0, 1], "extended")[1][0])
    assert np.isinf(terms(network, workload, [0, 0, 1, 1], "extended")[1][0])


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("model", ["paper", "extended"])
def test_a_plan_costs_what_the_op_says(seed, model):
    network, workload, stage_of = case(seed, model)
    ordered, seconds = terms(network, workload, stage_of, model)
    plan = planned(network, workload, ordered, model)
    told_ = plan.cost
    parts = told_.total_s, told_.exchange_s, told_.hand_over_s, told_.compute_s, told_.waiting_s
    assert parts == pytest.approx(seconds.tolist(), rel=1e-12)
    assert max(told_.exchange_of_stage_s) == told_.exchange_s
    assert sum(told_.hand_over_of_link_s) == told_.hand_over_s
    assert sum(told_.compute_of_stage_s) == told_.compute_s
    assert cost(network, workload, plan.stage_of, plan.replica_of, model) == told_
    assert recosted(plan, network, model).cost == told_


def test_pipelines_are_the_best_ones_of_the_slowest_links():
    """Of pairings whose slowest pair is fastest, the one of least sum."""
    delay = np.full((6, 6), 9.0)
    for a, b, seconds in ((0, 3, 2.0), (0, 4, 1.0), (1, 3, 1.0), (1, 4, 2.0), (2, 5, 3.0), (0, 5, 3.0)):
        delay[a, b] = delay[b, a] = seconds
    tables = problem(Network(delay, np.full((6, 6), 1e30)), Workload(2, 3, 1.0, 1.0))
    assert pipelines(tables, np.array([0, 0, 0, 1, 1, 1])).tolist() == [0, 1, 2, 1, 0, 2]


def test_stages_and_replicas_that_make_no_plan_are_refused():
    network, workload = drawn(5, np.random.default_rng(0)), Workload(2, 2, 1.0, 1.0)
    for stages, replicas, message in (
        ([0, 0, 1, 1, 0], [0, 1, 0, 1, 0], "stage 0 of replica 0: devices 0 and 4 both have it"),
        ([0, 0, 1, -1, -1], [0, 1, 0, -1, -1], "stage 1 of replica 1: no device has it"),
        ([0, 0, 1, 2, -1], [0, 1, 0, 1, -1], "device 3: expected stage 0 to 1 and replica 0 to 1, or -1 for both, got 2 and 1"),
        ([0, 0, 1, 1, -1], [0, 1, 0, 1, 0], "device 4: expected stage 0 to 1 .* got -1 and 0"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=message):
            cost(network, workload, stages, replicas)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seeds, models)
def test_other_names_of_devices_cost_the_same(seed, model):
    network, workload, stage_of = case(seed, model)
    order = np.random.default_rng(seed).permutation(len(network))
    expected = terms(network, workload, stage_of, model)[1]
    seconds = terms(network.take(order), workload, stage_of[order], model)[1]
    if problem(network, workload, model).free_order:
        seconds, expected = seconds[:4], expected[:4]
    assert seconds == pytest.approx(expected, rel=1e-12)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seeds, models, some.floats(1.0, 10.0))
def test_more_bandwidth_and_less_delay_never_cost_more(seed, model, factor):
    network, workload, stage_of = case(seed, model)
    chance = np.random.default_rng(seed)
    faster = replace(
        network,
        delay_s=network.delay_s * chance.uniform(1 / factor, 1, network.delay_s.shape),
        bandwidth_bits_per_s=network.bandwidth_bits_per_s * chance.uniform(1, factor, network.delay_s.shape),
    )
    before, after = (terms(given_, workload, stage_of, model)[1] for given_ in (network, faster))
    assert (after <= before * (1 + 1e-12)).all()


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seeds, models, some.floats(1.0, 100.0), some.floats(1.0, 100.0))
def test_compression_never_costs_more(seed, model, gradients, activations):
    network, workload, stage_of = case(seed, model)
    less = replace(workload, gradient_compression=gradients, activation_compression=activations)
    before, after = (terms(network, given_, stage_of, model)[1] for given_ in (workload, less))
    assert (after[1:3] <= before[1:3] * (1 + 1e-12)).all()
    only = replace(workload, gradient_compression=gradients)
    assert terms(network, only, stage_of, model)[1][0] <= before[0] * (1 + 1e-12)
