"""Plans without devices that have left, held against all plans there are, and what must hold for any of them."""

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st

from fmcompress.errors import ConfigError
from fmcompress.scheduling import Network, Plan, Workload
from fmcompress.scheduling import replan as module
from fmcompress.scheduling.plan import planned
from fmcompress.scheduling.replan import kept, replan


def network(devices: int, seed: int = 0, **facts: object) -> Network:
    chance = np.random.default_rng(seed)
    delay, speed = chance.uniform(0.001, 0.2, (devices, devices)), chance.uniform(1e8, 5e9, (devices, devices))
    return Network(delay, speed, **facts)


def workload(stages: int, replicas: int, **facts: object) -> Workload:
    return Workload(stages, replicas, 1e8, 2e8, **facts)


def plan_of(net: Network, work: Workload, seed: int = 0, model: str = "paper") -> Plan:
    """Any plan; which devices are idle is left to chance, too."""
    stage_of = np.full(len(net), -1)
    chosen = np.random.default_rng(seed).permutation(len(net))[: work.tasklets]
    stage_of[chosen] = np.arange(work.tasklets) % work.stages
    return planned(net, work, stage_of, model)


def least(net: Network, work: Workload, plans: list[list[int]], model: str = "paper") -> float:
    return min(planned(net, work, np.array(stage_of), model).cost_s for stage_of in plans)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("model", ["paper", "extended"])
def test_the_best_idle_device_takes_over(seed, model):
    net = network(9, seed, flops_per_s=np.random.default_rng(seed).uniform(1e12, 5e12, 9))
    work = workload(3, 2, flops=1e12, micro_batches=4)
    before = plan_of(net, work, seed, model)
    gone = int(before.mesh[seed % 3, 0])
    tried = []
    for device in before.idle:
        stage_of = list(before.stage_of)
        stage_of[device], stage_of[gone] = stage_of[gone], -1
        tried.append(stage_of)
    after = replan(before, net, [gone])
    assert after.cost_s == pytest.approx(least(net, work, tried, model), rel=1e-12)
    assert (kept(before, after), after.workload, after.cost.model) == (5, work, model)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("stages", "replicas"), [(2, 2), (2, 3), (3, 2), (3, 3)])
def test_the_best_devices_are_released(seed, stages, replicas):
    net, work = network(stages * replicas, seed), workload(stages, replicas)
    before = plan_of(net, work, seed)
    gone = int(before.mesh[seed % stages, seed % replicas])
    choices = [[gone] if gone in row else row for row in before.mesh.tolist()]
    tried = [[-1 if d in out else s for d, s in enumerate(before.stage_of)] for out in product(*choices)]
    after = replan(before, net, [gone])
    assert after.cost_s == pytest.approx(least(net, workload(stages, replicas - 1), tried), rel=1e-12)
    assert after.workload == workload(stages, replicas - 1)
    assert kept(before, after) == stages * (replicas - 1)


def test_two_leavers_of_one_stage_and_one_idle_device():
    """One of them is replaced, and every other stage releases one device."""
    net, work = network(10, 1), workload(3, 3)
    before = plan_of(net, work, 1)
    gone, (spare,) = before.mesh[1, :2].tolist(), before.idle
    tried = []
    for out in product(*before.mesh[[0, 2]].tolist()):
        stage_of = [-1 if d in (*gone, *out) else s for d, s in enumerate(before.stage_of)]
        stage_of[spare] = 1
        tried.append(stage_of)
    after = replan(before, net, gone)
    assert after.stage_of[spare] == 1
    assert after.workload.replicas == 2
    assert after.cost_s == pytest.approx(least(net, workload(3, 2), tried), rel=1e-12)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Network, Plan, list[int]]:
    stages, replicas, spare = draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(st.integers(0, 4))
    devices, seed = stages * replicas + spare, draw(st.integers(0, 10**6))
    model = draw(st.sampled_from(["paper", "extended"]))
    large = np.random.default_rng(seed).uniform(1, 3, devices) * 1e9
    net = network(devices, seed, memory_bytes=large if draw(st.booleans()) else None)
    work = workload(stages, replicas, state_bytes=np.linspace(1e9, 1.5e9, stages), micro_batches=2)
    try:
        plan = plan_of(net, work, seed, model)
    except ConfigError:  # no plan fits the memory
        reject()
    assume(np.isfinite(plan.cost_s))
    return net, plan, draw(st.lists(st.integers(0, devices - 1), max_size=devices))


@pytest.mark.parametrize("exhaustive", [1000, 0])  # all plans counted, or by exchanges alone
@settings(max_examples=150, deadline=None)
@given(case=cases())
def test_whoever_leaves(exhaustive, case):
    net, before, gone = case
    limited = net.memory_bytes is not None and before.cost.model == "extended"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "EXHAUSTIVE", exhaustive)
        try:
            after = replan(before, net, gone)
        except ConfigError as error:
            staying = [d for d in range(len(net)) if d not in gone]
            alive = {before.stage_of[d] for d in staying if before.stage_of[d] != -1}
            assert "Plan anew" in str(error)
            assert limited or before.workload.stages - len(alive) > sum(before.stage_of[d] == -1 for d in staying)
            return
        assert after == replan(before, net, gone)  # the same one every time
        assert after == replan(before, net, gone[::-1])
    assert after.mesh.shape == (before.workload.stages, after.workload.replicas)  # every tasklet has one device
    assert all(after.stage_of[device] == -1 for device in gone)
    for device, stage in enumerate(before.stage_of):
        if stage != -1:
            assert after.stage_of[device] in (stage, -1)
    idle = sum(device not in gone for device in before.idle)
    short = sum(before.stage_of[device] != -1 for device in set(gone))
    assert np.isfinite(after.cost_s)
    if idle >= short and not limited:
        assert after.workload.replicas == before.workload.replicas
    if not any(before.stage_of[device] != -1 for device in gone):
        assert after is before
    assert replan(after, net, gone) is after


def test_exchanges_of_devices_end_where_none_betters(monkeypatch):
    monkeypatch.setattr(module, "EXHAUSTIVE", 0)
    net, work = network(20, 5), workload(4, 5)
    before = plan_of(net, work, 5)
    gone = int(before.mesh[2, 3])
    after = replan(before, net, [gone])
    dissolved = [-1 if before.replica_of[d] == 3 else s for d, s in enumerate(before.stage_of)]
    assert after.cost_s < planned(net, after.workload, np.array(dissolved), "paper").cost_s
    for a, b in combinations(range(20), 2):
        if before.stage_of[a] == before.stage_of[b] and gone not in (a, b) and after.stage_of[a] != after.stage_of[b]:
            swapped = np.array(after.stage_of)
            swapped[[a, b]] = swapped[[b, a]]
            assert planned(net, after.workload, swapped, "paper").cost_s >= after.cost_s * (1 - 1e-9)


def test_memory_decides_who_can_take_over():
    """The near idle device is too small for the last stage, the far one is not; in the paper's model nobody asks."""
    delay = np.full((6, 6), 0.01)
    delay[5] = delay[:, 5] = 0.5
    memory = np.array([4.0, 4.0, 4.0, 4.0, 1.0, 4.0]) * 1e9
    net = Network(delay, np.full((6, 6), 1e9), memory_bytes=memory)
    work = workload(2, 2, state_bytes=(0.5e9, 2e9))
    for model, wanted in (("extended", 5), ("paper", 4)):
        before = planned(net, work, np.array([0, 0, 1, 1, -1, -1]), model)
        assert replan(before, net, [3]).stage_of[wanted] == 1
        assert replan(before, net, [1]).stage_of[4] == 0
    before = planned(net, work, np.array([0, 0, 1, 1, -1, -1]), "extended")
    both = replan(before, net, [1, 3])
    assert (both.stage_of[4], both.stage_of[5]) == (0, 1)
    fewer = replan(before, net, [3, 5])  # nobody is left who could hold the last stage twice
    assert fewer.workload.replicas == 1
    assert np.isfinite(fewer.cost_s)


def test_one_device_after_another():
    net, work = network(14, 2), workload(3, 4)
    plan, gone = plan_of(net, work, 2), []
    for wanted in (4, 4, 3, 3, 3, 2):  # two spares, then those that each reduction releases
        gone.append(int(plan.mesh[1, 0]))
        plan = replan(plan, net, gone)
        assert plan.workload.replicas == wanted
        assert not {*gone} & {*plan.mesh.flatten().tolist()}


def test_what_cannot_go_on_is_told_in_one_line():
    net, work = network(6), workload(3, 2)
    before = planned(net, work, np.array([0, 0, 1, 1, 2, 2]), "paper")
    with pytest.raises(ConfigError, match=r"^without: stage 1 has no device left.*fewer stages") as told:
        replan(before, net, [2, 3])
    assert "\n" not in str(told.value)
    for wrong in (6, -1):
        with pytest.raises(ConfigError, match=rf"^without: expected numbers of devices, 0 to 5, got {wrong}"):
            replan(before, net, [wrong])
    with pytest.raises(ConfigError, match=r"^network: expected the 6 devices of the plan"):
        replan(before, net.take([0, 1, 2, 3, 4]), [0])


@pytest.mark.slow
@pytest.mark.parametrize("stages", [8, 64])
def test_hundreds_of_devices(stages):
    net, work = network(520, 3), workload(stages, 512 // stages)
    before = plan_of(net, work, 3)
    one = replan(before, net, [int(before.mesh[3, 1])])
    assert (one.workload.replicas, kept(before, one)) == (512 // stages, 511)
    gone = [*before.idle, int(before.mesh[3, 1])]
    fewer = replan(before, net, gone)
    assert (fewer.workload.replicas, kept(before, fewer)) == (512 // stages - 1, 512 - stages)


def test_groups_that_are_equally_slow_are_all_mended(monkeypatch):
    """Either of two far devices makes the exchange slow: to release one of them alone gains nothing yet."""
    monkeypatch.setattr(module, "EXHAUSTIVE", 0)
    stage_of, delay = np.arange(9) % 3, np.full((9, 9), 0.01)
    for far in (4, 8):  # of stages 1 and 2, and far only from their own groups
        mates = np.flatnonzero(stage_of == stage_of[far])
        delay[far, mates] = delay[mates, far] = 1.0
    net, work = Network(delay, np.full((9, 9), 1e12)), workload(3, 3)
    before = planned(net, work, stage_of, "paper")
    gone = next(int(device) for device in before.mesh[0] if before.replica_of[device] == before.replica_of[1])
    after = replan(before, net, [gone])
    assert (after.stage_of[4], after.stage_of[8]) == (-1, -1)
    assert after.cost_s < before.cost_s / 3
