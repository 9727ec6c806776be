"""Files of networks and workloads: both forms, what round-trips, and what is refused in one line."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from fmcompress.errors import ConfigError, DiskError
from fmcompress.files import refuse_existing, write_json
from fmcompress.scheduling import Network, Workload, cost
from fmcompress.scheduling.baselines import baseline
from fmcompress.scheduling.files import read_network, read_workload

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "schedule"
DEVICES = {"data-centre": 64, "spot": 64, "universities": 64, "regions": 64, "world-wide": 64}
PLACES = (
    "devices: {a: 2, b: 1}\ninside: {delay_ms: 1, bandwidth_gbps: 10}\nbetween: {delay_ms: 20, bandwidth_gbps: 0.5}\n"
)
PAIR = "delay_ms: [[0, 20], [30, 0]]\nbandwidth_gbps: [[0, 1], [2, 0]]\n"
WORK = "stages: 2\nreplicas: 3\nactivation_bytes: 1e8\ngradient_bytes: [1e9, 2e9]\n"


def written(tmp_path, text, name="file.yaml"):
    path = tmp_path / name
    path.write_bytes(text) if isinstance(text, bytes) else path.write_text(text, encoding="utf-8")
    return path


def test_places(tmp_path):
    network = read_network(written(tmp_path, PLACES + "flops_per_s: 5e13\nmemory_gb: {a: 24, b: 80}\n"))
    assert (network.names, network.regions) == (("a-0", "a-1", "b-0"), ("a", "a", "b"))
    assert network.delay_s.tolist() == [[0, 0.001, 0.02], [0.001, 0, 0.02], [0.02, 0.02, 0]]
    off = ~np.eye(3, dtype=bool)
    assert network.bandwidth_bits_per_s[off].tolist() == [1e10, 5e8, 1e10, 5e8, 5e8, 5e8]
    assert network.flops_per_s.tolist() == [5e13] * 3
    assert network.memory_bytes.tolist() == [24e9, 24e9, 80e9]


def test_links_go_before_what_is_between(tmp_path):
    links = "links: [{a: c, b: a, delay_ms: 7, bandwidth_gbps: 3}]\n"
    network = read_network(written(tmp_path, PLACES.replace("b: 1", "b: 1, c: 1") + links))
    assert network.delay_s[0].tolist() == [0, 0.001, 0.02, 0.007]
    assert network.delay_s[3].tolist() == [0.007, 0.007, 0.02, 0]
    assert network.bandwidth_bits_per_s[3, 0] == network.bandwidth_bits_per_s[0, 3] == 3e9


def test_links_of_a_file_beside_it(tmp_path):
    """Whose other places are passed over: one table serves many networks."""
    link = {"delay_ms": 5, "bandwidth_gbps": 2}
    table = {"unit": {}, "links": [{"a": "a", "b": "b", **link}, {"a": "a", "b": "elsewhere", **link}]}
    (tmp_path / "tables").mkdir()
    written(tmp_path, json.dumps(table), "tables/regions.json")
    network = read_network(written(tmp_path, PLACES + "links: tables/regions.json\n"))
    assert network.delay_s[2].tolist() == [0.005, 0.005, 0]


def test_matrices_of_either_unit(tmp_path):
    network = read_network(written(tmp_path, PAIR + "names: [left, 7]\n"))
    other = "delay_s: [[0, 0.02], [0.03, 0]]\nbandwidth_bits_per_s: [[0, 1e9], [2e9, 0]]\nnames: [left, 7]\n"
    assert network == read_network(written(tmp_path, other, "other.yaml"))
    assert network.names == ("left", "7")
    assert (network.delay_s[0, 1], network.bandwidth_bits_per_s[1, 0]) == (0.02, 2e9)


@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_a_network_comes_back_to_the_bit(tmp_path, suffix):
    chance = np.random.default_rng(0)
    network = Network(
        chance.uniform(0, 1, (5, 5)), 10 ** chance.uniform(6, 12, (5, 5)), tuple("vwxyz"), ("a", "", "ä", "1", "no"),
        chance.uniform(1e12, 1e15, 5), chance.uniform(1e9, 1e11, 5),
    )  # fmt: skip
    path = tmp_path / f"network.{suffix}"
    write_json(path, network.as_dict())
    again = read_network(path)
    assert again == network
    assert again.as_dict() == network.as_dict()
    assert not list(tmp_path.glob("*.partial"))


def test_a_workload_comes_back(tmp_path):
    workload = Workload(2, 3, 1e8, [1e9, 2e9], 4, 1.5, 88.3, [1e15, 2e15], 5e9, 1e8, 7)
    write_json(tmp_path / "workload.json", workload.as_dict())
    assert read_workload(tmp_path / "workload.json") == workload
    assert read_workload(written(tmp_path, WORK)) == Workload(2, 3, 1e8, (1e9, 2e9))


@pytest.mark.parametrize("name", DEVICES)
def test_examples(name):
    network, workload = read_network(EXAMPLES / f"{name}.yaml"), read_workload(EXAMPLES / "gpt3-xl.yaml")
    assert len(network) == DEVICES[name]
    assert (workload.stages, workload.replicas, workload.gradient_bytes) == (8, 8, 0.65e9)
    assert workload.activation_bytes == pytest.approx(2024 * 2048 * 2 * 61.035 / 2**30 * 1e9, rel=1e-12)
    plan = baseline(network, workload, "strided")
    assert cost(network, workload, plan.stage_of, plan.replica_of) == plan.cost


@pytest.mark.parametrize(
    ("name", "strided", "contiguous"),
    [("data-centre", 3.4398, 16.9805), ("universities", 16.087, 17.65), ("regions", 34.802, 39.24),
     ("world-wide", 49.2183, 59.4367), ("spot", 49.50, 49.50)],
)  # fmt: skip
def test_examples_cost_what_the_published_code_counts(name, strided, contiguous):
    network, workload = read_network(EXAMPLES / f"{name}.yaml"), read_workload(EXAMPLES / "gpt3-xl.yaml")
    for kind, seconds in (("strided", strided), ("contiguous", contiguous)):
        assert baseline(network, workload, kind).cost_s == pytest.approx(seconds, abs=6e-3 if seconds > 17 else 6e-4)


def test_files_of_the_documentation(tmp_path):
    text = (ROOT / "docs" / "scheduling.md").read_text(encoding="utf-8")
    places, matrices, numbers, of_model = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert len(read_network(written(tmp_path, places))) == 12
    assert read_network(written(tmp_path, matrices)).names == ("left", "right")
    assert read_workload(written(tmp_path, numbers)).gradient_compression == 88
    config = {
        "model_type": "llama",
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 5,
        "vocab_size": 8192,
    }
    (tmp_path / "tinyllama").mkdir()
    written(tmp_path, json.dumps(config | {"num_attention_heads": 4}), "tinyllama/config.json")
    workload = read_workload(written(tmp_path, of_model))
    assert (workload.layers, workload.activation_bytes) == (5, 16 * 2048 * 64 * 2)
    assert workload.gradient_compression > 50


NETWORKS = {
    "not square": ("delay_ms: [[0, 1, 2], [1, 0, 2]]\nbandwidth_gbps: [[0]]", r"delay_s: expected a square matrix"),
    "ragged": ("delay_s: [[0, 1], [1]]\nbandwidth_gbps: [[0, 1], [1, 0]]", "delay_s: expected a square matrix"),
    "text": (PAIR.replace("20", "fast"), "delay_ms: expected a square matrix of numbers"),
    "sizes": (PAIR.replace("[[0, 1], [2, 0]]", "[[0]]"), r"bandwidth_bits_per_s: expected \[2, 2\] like delay_s"),
    "both units": (PAIR + "delay_s: [[0]]", "delay_s or delay_ms: one of the two"),
    "half": ("delay_ms: [[0]]", "bandwidth_bits_per_s or bandwidth_gbps: one of the two"),
    "negative": (PLACES.replace("20", "-20"), "a-0 to b-0: expected a delay of at least 0 seconds, got -0.02"),
    "endless": (PLACES.replace("20", ".inf"), "a-0 to b-0: expected a delay of at least 0 seconds, got inf"),
    "no link": (PLACES.replace("0.5", "0"), r"a-0 to b-0: no link \(bandwidth 0\)"),
    "no pair": (PLACES.replace("between", "#"), "a to b: no link is given"),
    "nothing inside": (PLACES.replace("inside", "#").replace("between", "#"), "inside a: no link is given"),
    "misspelt": (PLACES.replace("inside", "insides"), "insides: unknown. Did you mean inside?"),
    "misspelt first": (PLACES.replace("devices", "devcies"), "devcies: unknown. Did you mean devices?"),
    "misspelt within": (PLACES.replace("delay_ms: 20", "delay: 20"), "delay: unknown. Did you mean delay_ms?"),
    "misspelt place": (
        PLACES.replace("a: 2", "Tokyo: 2") + "links: [{a: Tokio, b: b, delay_ms: 1, bandwidth_gbps: 1}]",
        "Tokio: unknown. Did you mean Tokyo?",
    ),
    "far from all": (PLACES + "zzz: 1", "zzz: unknown. Known here: devices, inside, "),
    "no count": (PLACES.replace("a: 2", "a: two"), "a: expected a number of devices of at least 1, got 'two'"),
    "no devices": ("devices: []", "devices: expected how many stand in each place"),
    "memory of some": (PLACES + "memory_gb: {a: 24}", "memory_gb: expected a number for each place, and b has none"),
    "no speed": (PLACES + "flops_per_s: fast", "flops_per_s: expected a number"),
    "names of number": (PAIR + "names: 5", "names: expected a list, one for each device, got 5"),
    "too many": (PLACES.replace("a: 2", "a: 1000000"), "devices: expected at most 4096 in all, got 100000"),
    "twins": (PAIR + "names: [x, x]", "names: 'x' stands for two devices"),
    "no link file": (PLACES + "links: nowhere.json", r"nowhere\.json: cannot be read \(No such file"),
    "links of numbers": (PLACES + "links: [5]", "links: expected a in it"),
    "no links": (PLACES + "links: 5", "links: expected a list of"),
    "not YAML": ("a: [1, 2\nb: {", "cannot be read"),
    "a list": ("[1, 2]", "expected names and their values"),
    "empty": ("", "expected names and their values"),
    "bytes": (b"\xff\xfe\x00", "cannot be read"),
    "code": ("devices: !!python/object/apply:os.getcwd []", "cannot be read"),
    "deep": ("[" * 50_000, "cannot be read"),
}  # fmt: skip


def assert_one_line(error, path, message):
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)
    assert re.search(message, str(error.value)), str(error.value)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_that_are_refused(tmp_path, name):
    text, message = NETWORKS[name]
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        read_network(path)
    assert_one_line(error, path, message)


WORKLOADS = {
    "misspelt": (WORK.replace("replicas", "replica"), "replica: unknown. Did you mean replicas?"),
    "lacking": ("stages: 2\nreplicas: 2", "activation_bytes: missing"),
    "text": (WORK.replace("stages: 2", "stages: two"), "stages: expected a whole number of at least 1, got 'two'"),
    "negative": (WORK.replace("1e8", "-1"), "activation_bytes: expected a number of at least 0, got -1"),
    "stages": (WORK.replace("2e9", "2e9, 3e9"), "gradient_bytes: expected a number, or one for each of 2 stages"),
    "nothing": (WORK.replace("[1e9, 2e9]", ""), "expected numbers"),
    "of a model": (WORK + "model: here", "activation_bytes: unknown. Did you mean activation_dtype?"),
    "model lacking": ("model: here\nstages: 2", "replicas: missing"),
}


@pytest.mark.parametrize("name", WORKLOADS)
def test_workloads_that_are_refused(tmp_path, name):
    text, message = WORKLOADS[name]
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        read_workload(path)
    assert_one_line(error, path, message)


def test_nothing_is_replaced_unasked(tmp_path):
    there = written(tmp_path, "old", "plan.json")
    with pytest.raises(ConfigError, match=r"is there already\. Replace it with --force"):
        refuse_existing(False, there, None)
    refuse_existing(True, there, None)
    with pytest.raises(ConfigError, match="It is no file"):
        refuse_existing(True, tmp_path, None)
    with pytest.raises(ConfigError, match="there is no folder"):
        refuse_existing(True, tmp_path / "nowhere" / "plan.json", None)
    with pytest.raises(ConfigError, match="are one file"):
        refuse_existing(True, tmp_path / "plan.png", tmp_path / "plan.png")
    with pytest.raises(ConfigError, match=r"ends in \.png, \.svg or \.pdf"):
        refuse_existing(False, None, tmp_path / "plan.bmp")
    assert there.read_text() == "old"


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(DiskError):
        write_json(tmp_path / "nowhere" / "plan.json", {})
    assert not list(tmp_path.iterdir())
