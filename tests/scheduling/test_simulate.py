"""The simulated iteration: cases counted by hand, and what must hold for every plan."""

import json
from collections import defaultdict
from itertools import pairwise, product

import numpy as np
import pytest

from fmcompress.errors import ConfigError
from fmcompress.scheduling import Network, Plan, Workload, problem
from fmcompress.scheduling.cost import cost_of
from fmcompress.scheduling.iteration import order_1f1b
from fmcompress.scheduling.simulate import simulate

GB = 1e9 / 8  # bytes that take a second at 1e9 bits a second


def alike(devices, delay_s=0.0, bandwidth=1e9, flops=None):
    speeds = None if flops is None else np.full(devices, flops)
    return Network(np.full((devices,) * 2, delay_s), np.full((devices,) * 2, bandwidth), flops_per_s=speeds)


def plan_of(network, workload, mesh=None, model="extended"):
    """A plan with those devices [stages, replicas]; by default 0, 1, … row by row."""
    if mesh is None:
        mesh = np.arange(workload.tasklets).reshape(workload.stages, workload.replicas)
    places = np.full((2, len(network)), -1)
    for (stage, replica), device in np.ndenumerate(mesh):
        places[:, device] = stage, replica
    cost = cost_of(problem(network, workload, model), np.asarray(mesh), model)
    return Plan(workload, network.names, network.regions, *(tuple(row.tolist()) for row in places), cost)


def uneven(seed):
    """A random network, workload and plan, with a device to spare."""
    chance = np.random.default_rng(seed)
    stages, replicas, micro_batches = (int(chance.choice(of)) for of in ((2, 3, 5), (1, 2, 4), (1, 3, 9)))
    devices = stages * replicas + 1
    shape, bandwidth = (devices, devices), 10 ** chance.uniform(8, 10, (devices, devices))
    network = Network(chance.uniform(0, 0.5, shape), bandwidth, flops_per_s=chance.uniform(1, 3, devices) * 1e12)
    gradients = tuple((chance.uniform(0.5, 2, stages) * GB).tolist())
    workload = Workload(stages, replicas, GB * micro_batches, gradients, micro_batches, flops=1e12 * micro_batches)
    mesh = chance.permutation(devices)[:-1].reshape(stages, replicas)
    return network, workload, plan_of(network, workload, mesh)


@pytest.mark.parametrize(("stages", "micro_batches"), [(1, 4), (2, 1), (4, 2), (4, 9)])
def test_equal_stages_without_communication(stages, micro_batches):
    workload = Workload(stages, 1, 0.0, 0.0, micro_batches, flops=3e12 * micro_batches)
    network = alike(stages, flops=1e12)
    done = simulate(network, plan_of(network, workload))
    assert done.total_s == pytest.approx((micro_batches + stages - 1) * 3)
    assert done.busy_s == pytest.approx([3 * micro_batches] * stages)


@pytest.mark.parametrize(("stages", "replicas"), [(1, 4), (3, 1), (2, 2), (4, 5)])
def test_the_papers_cost_is_exact_in_a_homogeneous_network_whose_messages_block(stages, replicas):
    network, workload = alike(stages * replicas, 0.25), Workload(stages, replicas, 2 * GB, 3 * GB, 8, flops=1e12)
    plan = plan_of(network, workload, model="paper")
    done = simulate(network, plan, delays="blocking", model="paper")
    assert done.pipeline_s == pytest.approx(2 * (stages - 1) * (0.25 + 2))
    assert done.exchange_s == pytest.approx(2 * (replicas - 1) * (0.25 + 3 / replicas))
    assert done.total_s == pytest.approx(plan.cost_s)


def test_pipelined_delays_count_once_a_phase():
    network, workload = alike(4, 0.5), Workload(1, 4, 0.0, 4 * GB)
    assert simulate(network, plan_of(network, workload)).total_s == pytest.approx(2 * (3 + 0.5))


@pytest.mark.parametrize("delays", ["pipelined", "blocking"])
def test_a_message_there_and_back_over_an_asymmetric_link(delays):
    network = Network([[0, 0.5], [0.125, 0]], [[1, 1e9], [4e9, 1]], flops_per_s=[1e12, 2e12])
    workload = Workload(2, 1, 2 * GB, 0.0, activation_compression=2, flops=3e12)
    done = simulate(network, plan_of(network, workload), delays=delays)
    assert done.total_s == pytest.approx(3 + (1 + 0.5) + 1.5 + (0.25 + 0.125))
    held = (0.625, 0.5, 0.125)[1:] if delays == "blocking" else (0, 0)
    assert done.sending_s == pytest.approx([1 + held[0], 0.25 + held[1]])


def test_an_exchange_over_an_asymmetric_link_waits_for_its_slow_direction_twice():
    network, workload = Network(np.zeros((2, 2)), [[1, 1e9], [4e9, 1]]), Workload(1, 2, 0.0, 2 * GB)
    done = simulate(network, plan_of(network, workload))
    assert [span[:4] for span in done.events if span.micro_batch == -1] == [
        (0, 0.25, 1, "reduce"),
        (0, 1, 0, "reduce"),
        (1, 1.25, 1, "gather"),  # has the other's shard only now
        (1, 2, 0, "gather"),  # has it, but its port is busy until now
    ]


def test_a_message_overtakes_one_whose_receiver_is_busy():
    seconds = np.ones((4, 4))
    seconds[1, 2] = 4
    network, workload = Network(np.zeros((4, 4)), 1e9 / seconds), Workload(1, 4, 0.0, 4 * GB)
    spans = [span for span in simulate(network, plan_of(network, workload)).events if span.what == "reduce"]
    assert [(span.to, span.begin_s) for span in spans if span.device == 0] == [(1, 0), (3, 1), (2, 4)]
    assert [span.device for span in spans if span.to == 2] == [1, 0, 3]  # who is nearer goes first


def test_slow_links_keep_a_port_busy_in_one_direction_and_both_directions_in_the_middle():
    ends, middle = (Workload(stages, 1, 100 * GB, 0.0, 100) for stages in (2, 3))
    assert simulate(alike(2), plan_of(alike(2), ends)).total_s == pytest.approx(100 + 1)
    plan = plan_of(alike(3), middle)
    assert 200 <= simulate(alike(3), plan).total_s <= 203
    assert plan.cost_s == pytest.approx(200, rel=0.02)


def test_the_order_of_a_device_is_that_of_torch():
    f, b = "forward", "backward"
    assert order_1f1b(1, 3, 4) == [(f, 0), (f, 1), (b, 0), (f, 2), (b, 1), (f, 3), (b, 2), (b, 3)]
    assert order_1f1b(0, 8, 2) == [(f, 0), (f, 1), (b, 0), (b, 1)]


@pytest.mark.parametrize("seed", range(12))
def test_ports_carry_one_message_at_a_time_and_every_byte(seed):
    network, workload, plan = uneven(seed)
    speed, spans, bits = network.bandwidth_bits_per_s, defaultdict(list), defaultdict(float)
    done = simulate(network, plan)
    for span in done.events:
        if span.device == span.to:
            spans["computes", span.device].append(span)
            continue
        spans["sends", span.device].append(span)
        spans["receives", span.to].append(span)
        bits[span.what, span.device, span.to] += (span.end_s - span.begin_s) * speed[span.device, span.to]
    for of_one in spans.values():
        assert all(a.end_s <= b.begin_s for a, b in pairwise(sorted(of_one)))
    wanted = {
        (what, a, b): 8 * workload.gradient_bytes[stage] / workload.replicas
        for stage, group in enumerate(plan.mesh)
        for what, a, b in product(("reduce", "gather"), group, group)
        if a != b
    }
    for a, b in ((a, b) for here, there in pairwise(plan.mesh) for a, b in zip(here, there, strict=True)):
        wanted["send", a, b] = wanted["send", b, a] = 8 * workload.activation_bytes
    assert bits == pytest.approx(wanted)
    assert sum(done.sending_s) == pytest.approx(sum(n / speed[key[1:]] for key, n in wanted.items()))


@pytest.mark.parametrize("seed", range(12))
def test_micro_batches_go_through_all_stages_and_few_are_in_flight(seed):
    network, workload, plan = uneven(seed)
    when = {span[2:5]: span for span in simulate(network, plan).events}
    for column in plan.mesh.T:
        for number in range(workload.micro_batches):
            path = [when[device, "forward", number] for device in column]
            path += [when[device, "backward", number] for device in column[::-1]]
            assert all(a.end_s <= b.begin_s for a, b in pairwise(path))
        for stage, device in enumerate(column):
            steps = sorted((span.begin_s, what) for (at, what, _), span in when.items() if at == device)
            counts = np.cumsum([{"forward": 1, "backward": -1}.get(what, 0) for _, what in steps])
            assert counts.max() == min(workload.stages - stage, workload.micro_batches)
            assert counts[-1] == 0


@pytest.mark.parametrize("seed", range(12))
def test_the_papers_model_is_the_slowest_pipeline_and_within_its_cost(seed):
    network, workload, plan = uneven(seed)
    plan = plan_of(network, workload, plan.mesh, "paper")
    done = simulate(network, plan, delays="blocking", model="paper")
    each = network.delay_s + 8 * workload.activation_bytes / network.bandwidth_bits_per_s
    alone = [sum(each[a, b] + each[b, a] for a, b in pairwise(column)) for column in plan.mesh.T]
    assert done.pipeline_s == pytest.approx(max(alone))
    assert done.pipeline_s <= plan.cost.hand_over_s * (1 + 1e-12)


@pytest.mark.parametrize("seed", range(12))
def test_the_exchange_takes_no_less_than_its_ports_and_holds_up_no_pipeline(seed):
    network, workload, plan = uneven(seed)
    done, alone = (
        simulate(network, plan),
        simulate(network, plan, workload=Workload(**workload.as_dict() | {"gradient_bytes": 0})),
    )
    assert done.pipeline_s == alone.pipeline_s
    ended = defaultdict(float)
    for span in done.events:
        ended[span.device] = max(ended[span.device], span.end_s * (span.what == "backward"))
    for stage, group in enumerate(plan.mesh):
        seconds = 2 * 8 * workload.gradient_bytes[stage] / workload.replicas / network.bandwidth_bits_per_s
        for device in group:
            others = [other for other in group if other != device]
            load = max(seconds[device, others].sum(), seconds[others, device].sum())
            assert done.total_s >= (ended[device] + load) * (1 - 1e-12)


@pytest.mark.parametrize("seed", range(12))
def test_names_and_numbers_of_devices_decide_nothing(seed):
    network, workload, plan = uneven(seed)
    order = np.random.default_rng(seed).permutation(len(network))
    other = network.take(order.tolist())
    done, again = simulate(network, plan), simulate(other, plan_of(other, workload, np.argsort(order)[plan.mesh]))
    assert (again.total_s, again.pipeline_s) == (done.total_s, done.pipeline_s)
    assert again.busy_s == tuple(done.busy_s[device] for device in order)


@pytest.mark.parametrize("seed", range(12))
def test_more_bandwidth_on_all_links_is_never_slower(seed):
    network, _, plan = uneven(seed)
    for of in (network, alike(len(network), 0.1, flops=1e12)):
        faster = [Network(of.delay_s, of.bandwidth_bits_per_s * k, flops_per_s=of.flops_per_s) for k in (1, 1.5, 4, 50)]
        times = [simulate(scaled, plan).total_s for scaled in faster]
        assert all(a >= b * (1 - 1e-12) for a, b in pairwise(times))


def test_json_has_events_only_if_asked():
    network, workload = alike(2), Workload(2, 1, GB, 0.0)
    done = simulate(network, plan_of(network, workload))
    assert json.loads(json.dumps(done.as_dict())) == done.as_dict()
    first = {"begin_s": 0.0, "end_s": 0.0, "device": 0, "what": "forward", "micro_batch": 0, "to": 0}
    assert done.as_dict(events=True)["events"][0] == first


def test_what_does_not_fit_is_said():
    network, workload = alike(4), Workload(2, 2, GB, GB)
    plan = plan_of(network, workload)
    with pytest.raises(ConfigError, match="delays: expected one of pipelined, blocking, got 'none'"):
        simulate(network, plan, delays="none")
    with pytest.raises(ConfigError, match="model: expected one of paper, extended"):
        simulate(network, plan, model="real")
    with pytest.raises(ConfigError, match="the plan is for 4 devices, and it has 5"):
        simulate(alike(5), plan)
    with pytest.raises(ConfigError, match="expected stage 0 to 0 and replica 0 to 1"):
        simulate(network, plan, workload=Workload(1, 2, GB, GB))
    small = Network(network.delay_s, network.bandwidth_bits_per_s, memory_bytes=[4, 4, 9, 9])
    with pytest.raises(ConfigError, match="memory: 0 cannot hold stage 0"):
        simulate(small, plan, workload=Workload(2, 2, GB, GB, state_bytes=(5, 1)))
