"""Networks, workloads and plans: what they refuse, and that what is written is read back."""

import json
from dataclasses import replace

import numpy as np
import pytest
from small_networks import any_stages, drawn, work

from fmcompress.errors import ConfigError
from fmcompress.scheduling import Network, Plan, Workload, problem, read_plan
from fmcompress.scheduling.plan import planned, recosted

TWO = {"delay_s": [[0, 0.1], [0.2, 0]], "bandwidth_bits_per_s": [[0, 1e9], [2e9, 0]]}
PLACES = {"devices": {"Oslo": 2, "Rome": 1}, "inside": {"delay_ms": 1, "bandwidth_gbps": 10}}
LINK = {"a": "Rome", "b": "Oslo", "delay_ms": 30, "bandwidth_gbps": 0.5}

BAD_NETWORKS = {
    "rows": ({"delay_s": [[0, 1], [1]]}, "delay_s: expected a square matrix of numbers, got rows of unequal length"),
    "text": ({"delay_s": [["a"]]}, "delay_s: expected a square matrix of numbers"),
    "not square": ({"delay_s": [[0, 1]]}, r"delay_s: expected a square matrix, .* got shape \[1, 2\]"),
    "one row": ({"delay_s": [0, 1]}, r"delay_s: expected a square matrix, .* got shape \[2\]"),
    "none": ({"delay_s": np.zeros((0, 0))}, "delay_s: expected at least one device, got none"),
    "other size": (
        {"delay_s": np.zeros((3, 3))},
        r"bandwidth_bits_per_s: expected \[3, 3\] like delay_s, got \[2, 2\]",
    ),
    "negative delay": ({"delay_s": [[0, 0.1], [-1, 0]]}, "1 to 0: expected a delay of at least 0 seconds, got -1"),
    "endless delay": ({"delay_s": [[0, np.inf], [1, 0]]}, "0 to 1: expected a delay of at least 0 seconds, got inf"),
    "delay nan": ({"delay_s": [[0, np.nan], [1, 0]]}, "0 to 1: expected a delay"),
    "negative bandwidth": ({"bandwidth_bits_per_s": [[0, -1], [1, 0]]}, "0 to 1: expected a bandwidth above 0 .* -1"),
    "bandwidth nan": ({"bandwidth_bits_per_s": [[0, np.nan], [1, 0]]}, "0 to 1: expected a bandwidth above 0"),
    "no link": ({"bandwidth_bits_per_s": [[0, 1], [0, 0]]}, "1 to 0: no link .*Every device must reach every other"),
    "names": ({"names": ("a",)}, "names: expected one for each of 2 devices, got 1"),
    "one name twice": ({"names": ("a", "a")}, "names: 'a' stands for two devices"),
    "regions": ({"regions": ("a", "b", "c")}, "regions: expected one for each of 2 devices, got 3"),
    "speeds": ({"flops_per_s": [1.0]}, "flops_per_s: expected a number above 0 for each of 2 devices"),
    "speed 0": ({"flops_per_s": 0.0}, "flops_per_s: expected a number above 0"),
    "speed nan": ({"flops_per_s": [1.0, np.nan]}, "flops_per_s: expected a number above 0"),
    "speed text": ({"flops_per_s": ["x", 1]}, "flops_per_s: expected a number for each of 2 devices"),
    "memory": ({"memory_bytes": [-1, 2]}, "memory_bytes: expected a number above 0"),
}


@pytest.mark.parametrize("name", BAD_NETWORKS)
def test_bad_networks_are_refused(name):
    wrong, message = BAD_NETWORKS[name]
    with pytest.raises(ConfigError, match=message):
        Network(**TWO | wrong)


def test_a_network_does_not_change():
    delay = np.array(TWO["delay_s"])
    network = Network(delay, TWO["bandwidth_bits_per_s"], flops_per_s=2.0)
    delay[0, 1] = 9
    assert network.delay_s[0, 1] == 0.1
    assert network.flops_per_s.tolist() == [2.0, 2.0]
    assert network.names == ("0", "1")
    for array in (network.delay_s, network.bandwidth_bits_per_s, network.flops_per_s):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_devices_have_numbers_and_names():
    network = Network(**TWO, names=("b", "7"))
    assert [network.number(name) for name in ("b", "7", "0", "1")] == [0, 1, 0, 1]
    for name in ("2", "c", "-1", "", "²"):
        with pytest.raises(ConfigError, match="no such device"):
            network.number(name)


def test_networks_compare_by_their_numbers_and_are_read_back():
    network = replace(drawn(5, np.random.default_rng(0)), memory_bytes=7.5, regions=tuple("abcab"))
    again = Network(**json.loads(json.dumps(network.as_dict())))
    assert again == network
    assert hash(again) == hash(network)
    assert again != replace(network, memory_bytes=None)
    assert again != "network"
    for name in ("delay_s", "bandwidth_bits_per_s", "flops_per_s", "memory_bytes"):
        assert np.array_equal(getattr(again, name), getattr(network, name))


def test_a_part_of_a_network():
    network = replace(drawn(5, np.random.default_rng(0)), memory_bytes=[1, 2, 3, 4, 5], regions=tuple("abcde"))
    part = network.take([3, 0])
    assert part.delay_s[0, 1] == network.delay_s[3, 0]
    assert part.bandwidth_bits_per_s[1, 0] == network.bandwidth_bits_per_s[0, 3]
    assert (part.names, part.regions, part.memory_bytes.tolist()) == (("3", "0"), ("d", "a"), [4, 1])
    assert part.flops_per_s.tolist() == network.flops_per_s[[3, 0]].tolist()
    assert network.take(range(5)) == network


def test_places():
    network = Network.from_regions(**PLACES, links=[LINK, LINK | {"a": "Bonn", "delay_ms": 1}])
    assert network.names == ("Oslo-0", "Oslo-1", "Rome-0")
    assert network.regions == ("Oslo", "Oslo", "Rome")
    assert network.delay_s.tolist() == [[0, 0.001, 0.03], [0.001, 0, 0.03], [0.03, 0.03, 0]]
    assert network.bandwidth_bits_per_s[0].tolist() == [np.inf, 1e10, 5e8]
    others = Network.from_regions(**PLACES, between={"delay_ms": 30, "bandwidth_gbps": 0.5})
    assert np.array_equal(others.delay_s, network.delay_s)


BAD_PLACES = {
    "no link": ({}, "Oslo to Rome: no link is given. Add one to links"),
    "none inside": ({"inside": None, "links": [LINK]}, "inside Oslo: no link is given"),
    "count": ({"devices": {"Oslo": 0}}, "Oslo: expected a number of devices of at least 1, got 0"),
    "count text": ({"devices": {"Oslo": "2"}}, "Oslo: expected a number of devices of at least 1, got '2'"),
    "no end": ({"links": [{"a": "Oslo"}]}, "links: expected b in it"),
    "no delay": ({"links": [{"a": "Oslo", "b": "Rome"}]}, "link Oslo to Rome: expected delay_ms in it"),
    "delay text": ({"links": [LINK | {"delay_ms": "30"}]}, "link Rome to Oslo: delay_ms: expected a number, got '30'"),
    "inside": ({"inside": {"delay_ms": 1}, "links": [LINK]}, "inside: expected bandwidth_gbps in it"),
    "between": ({"between": {"delay_ms": 1}}, "between: expected bandwidth_gbps in it"),
}


@pytest.mark.parametrize("name", BAD_PLACES)
def test_bad_places_are_refused(name):
    wrong, message = BAD_PLACES[name]
    with pytest.raises(ConfigError, match=message):
        Network.from_regions(**PLACES | wrong)


WORK = {"stages": 2, "replicas": 2, "activation_bytes": 1e6, "gradient_bytes": 1e6}
BAD_WORK = {
    "stages": ({"stages": 0}, "stages: expected a whole number of at least 1, got 0"),
    "replicas": ({"replicas": 1.5}, "replicas: expected a whole number of at least 1, got 1.5"),
    "micro_batches": ({"micro_batches": True}, "micro_batches: expected a whole number of at least 1, got True"),
    "layers": ({"layers": 1}, "layers: 1 of them cannot be dealt out to 2 stages"),
    "activations": ({"activation_bytes": -1.0}, "activation_bytes: expected a number of at least 0, got -1"),
    "activations nan": ({"activation_bytes": np.nan}, "activation_bytes: expected a number of at least 0, got nan"),
    "text": ({"activation_bytes": "1e6"}, "activation_bytes: expected a number of at least 0, got '1e6'"),
    "compression": ({"gradient_compression": 0.5}, "gradient_compression: expected a number of at least 1, got 0.5"),
    "endless": ({"activation_compression": np.inf}, "activation_compression: expected a number of at least 1"),
    "gradients": ({"gradient_bytes": [1, 2, 3]}, "gradient_bytes: expected a number, or one for each of 2 stages"),
    "gradient text": ({"gradient_bytes": "many"}, "gradient_bytes: expected a number, or one for each of 2 stages"),
    "gradients negative": ({"gradient_bytes": [1, -2]}, "gradient_bytes: expected numbers of at least 0"),
    "flops": ({"flops": np.inf}, "flops: expected numbers of at least 0, got inf"),
}


@pytest.mark.parametrize("name", BAD_WORK)
def test_bad_workloads_are_refused(name):
    wrong, message = BAD_WORK[name]
    with pytest.raises(ConfigError, match=message):
        Workload(**WORK | wrong)


def test_a_workload_is_read_back():
    workload = Workload(**WORK | {"gradient_bytes": np.array([1.0, 2.0]), "layers": 7, "flops": 1e12})
    assert workload.gradient_bytes == (1.0, 2.0)
    assert Workload(**json.loads(json.dumps(workload.as_dict()))) == workload
    assert set(workload.as_dict()) == set(Workload.fields())


def test_stages_keep_what_is_in_flight():
    workload = Workload(3, 1, 1.0, 1.0, micro_batches=2, state_bytes=[10, 20, 30], stored_bytes=1.0)
    assert workload.memory_bytes().tolist() == [12, 22, 31]


def test_workloads_that_do_not_fit_are_refused():
    network = replace(drawn(5, np.random.default_rng(0)), memory_bytes=[1e9, 1e9, 1e9, 8e9, 8e9])
    with pytest.raises(ConfigError, match="3 stages of 2 replicas need 6 devices, and the network has 5"):
        problem(network, Workload(3, 2, 1.0, 1.0))
    with pytest.raises(ConfigError, match="model: expected one of paper, extended, got 'exact'"):
        problem(network, Workload(2, 2, 1.0, 1.0), "exact")
    heavy = Workload(2, 2, 1.0, 1.0, state_bytes=4e9)
    problem(network, heavy)  # the paper's model has no memory
    with pytest.raises(
        ConfigError, match=r"memory: stage . needs 4\.00 GB on each of 2 devices, .* 8\.00, 8\.00, 1\.00 GB"
    ):
        problem(network, heavy, "extended")


def a_plan(seed=0, model="extended"):
    chance = np.random.default_rng(seed)
    network, workload = drawn(8, chance), work((2, 3), chance, model)
    return network, planned(network, workload, any_stages(8, (2, 3), chance), model, found="search", seed=seed)


def test_a_plan_is_read_back(tmp_path):
    network, plan = a_plan()
    (tmp_path / "plan.json").write_text(json.dumps(plan.as_dict()), encoding="utf-8")
    again = read_plan(tmp_path / "plan.json")
    assert again == plan
    assert len(again.idle) == 2
    assert again.mesh.shape == (2, 3)
    assert again.stage_of[again.mesh[1, 2]] == 1
    assert recosted(plan, network, "extended").cost == plan.cost
    assert recosted(replace(plan, lower_bound_s=1.0), network, "paper").lower_bound_s == 0
    with pytest.raises(ConfigError, match="the plan is for 8 devices, and it has 5"):
        recosted(plan, network.take(range(5)), "paper")


def test_the_gap():
    _, plan = a_plan()
    assert plan.gap == 1
    assert replace(plan, lower_bound_s=plan.cost_s * 0.75).gap == pytest.approx(0.25)
    assert replace(plan, lower_bound_s=plan.cost_s * 2).gap == 0


@pytest.mark.parametrize(("layers", "split"), [(0, [(0, 1), (1, 2)]), (5, [(0, 3), (3, 5)]), (6, [(0, 3), (3, 6)])])
def test_layers_are_dealt_out_evenly(layers, split):
    _, plan = a_plan()
    assert replace(plan, workload=replace(plan.workload, layers=layers)).split == split


def broken(facts, path, value):
    """A copy of facts with another value somewhere; None takes it out."""
    facts = json.loads(json.dumps(facts))
    *way, last = path
    place = facts
    for key in way:
        place = place[key]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return facts


BAD_PLANS = {
    "format": (("format",), "other", "FILE: not a plan of fmcompress schedule"),
    "version": (("version",), 2, "FILE: version 2; this fmcompress reads version 1"),
    "no devices": (("devices",), None, "FILE: damaged: KeyError"),
    "stage text": (("devices", 0, "stage"), "x", "FILE: damaged: ValueError"),
    "stage twice": (("devices", 0), {"name": "0", "region": "", "stage": 0, "replica": 0}, "device"),
    "workload": (("workload", "stages"), 0, "FILE: stages: expected a whole number of at least 1, got 0"),
    "unknown": (("workload", "colour"), 1, "FILE: damaged: TypeError"),
    "cost": (("cost", "exchange_s"), None, "FILE: damaged: TypeError"),
}


@pytest.mark.parametrize("name", BAD_PLANS)
def test_bad_plans_are_refused(name):
    path, value, message = BAD_PLANS[name]
    with pytest.raises(ConfigError, match=message):
        Plan.from_dict(broken(a_plan()[1].as_dict(), path, value), "FILE")


def test_files_that_are_no_plans_are_refused(tmp_path):
    for facts in (None, [], "plan", {}):
        with pytest.raises(ConfigError, match="plan: not a plan"):
            Plan.from_dict(facts)
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    for name in ("broken.json", "nowhere.json"):
        with pytest.raises(ConfigError, match=name):
            read_plan(tmp_path / name)


def test_numbers_of_numpy_are_numbers():
    assert Workload(np.int64(2), 2, np.float32(1e6), np.int64(5)) == Workload(2, 2, 1e6, 5)
