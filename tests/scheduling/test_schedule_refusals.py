"""fmcompress schedule: what is refused in one line, before any work, with nothing written."""

import json
import sys

import numpy as np
import pytest
from schedule_cases import EVERY_FILE, WORKLOAD, files, refused

pytest_plugins = ["schedule_cases"]


def matrix(**entries):
    numbers = np.ones((6, 6))
    for name, value in entries.items():
        numbers[int(name[1]), int(name[2])] = value
    return numbers.tolist()


BAD = {
    "not square": ({"delay_ms": [[1, 2]], "bandwidth_gbps": matrix()}, {}, "expected a square matrix"),
    "negative": ({"delay_ms": matrix(_01=-1), "bandwidth_gbps": matrix()}, {}, "0 to 1: expected a delay of at least"),
    "no link": ({"delay_ms": matrix(), "bandwidth_gbps": matrix(_25=0)}, {}, r"2 to 5: no link \(bandwidth 0\)"),
    "too few devices": ({}, {"stages": 3}, "3 stages of 3 replicas need 9 devices, and the network has 8"),
    "memory": ({}, {"state_bytes": 17e9}, r"memory: stage 0 needs 17\.00 GB on each of 3 devices"),
    "misspelt": ({}, {"stagse": 2}, "stagse: unknown. Did you mean stages?"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("command", ["plan", "compare"])
def test_bad_files(run, home, name, command):
    network, workload, message = BAD[name]
    if network:
        (home / "network.yaml").write_text(json.dumps(network))
    (home / "workload.yaml").write_text(WORKLOAD + "".join(f"{key}: {value}\n" for key, value in workload.items()))
    output = ["-o", "plan.json"] if command == "plan" else ["--plot", "plan.png"]
    refused(run(command, "network.yaml", "workload.yaml", *output, "--model", "extended"), message)
    assert files(home) == EVERY_FILE


def test_missing_files(run, home):
    refused(run("plan", "nowhere.yaml", "workload.yaml", "-o", "plan.json"), r"nowhere\.yaml: cannot be read")
    refused(run("plan", "network.yaml", "nowhere.yaml", "-o", "plan.json"), r"nowhere\.yaml: cannot be read")
    refused(run("simulate", "network.yaml", "nowhere.json"), r"nowhere\.json")
    refused(run("simulate", "network.yaml", "network.yaml"), r"network\.yaml")
    assert files(home) == EVERY_FILE


COMMANDS = {
    "plan": (["network.yaml", "workload.yaml", "-o", "new.json", "--plot", "new.png"], ["new.json", "new.png"]),
    "replan": (["network.yaml", "plan.json", "-o", "new.json", "--without", "0"], ["new.json"]),
    "compare": (["network.yaml", "workload.yaml", "--plot", "new.png"], ["new.png"]),
    "simulate": (["network.yaml", "plan.json", "--plot", "new.png"], ["new.png"]),
    "probe": (["-o", "new.json"], ["new.json"]),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_is_replaced_unasked(run, home, plan, command):
    args, outputs = COMMANDS[command]
    for name in outputs:
        (home / name).write_text("old")
        refused(run(command, *args), rf"{name}: is there already\. Replace it with --force")
        assert (home / name).read_text() == "old"
        (home / name).unlink()
    assert files(home) == {*EVERY_FILE, "plan.json"}
    if command != "probe":
        for name in outputs:
            (home / name).write_text("old")
        assert run(command, *args, "--force").code == 0
        assert b"old" not in [(home / name).read_bytes() for name in outputs]


def test_pictures_that_cannot_be_drawn_are_refused_before_the_search(run, home, monkeypatch):
    args = "plan", "network.yaml", "workload.yaml", "-o", "plan.json", "--plot"
    refused(run(*args, "plan.bmp"), r"plan\.bmp: expected a name that ends in")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    refused(run(*args, "plan.png"), r"needs matplotlib: pip install 'fmcompress\[plots\]'")
    assert files(home) == EVERY_FILE


DAMAGES = {
    "not JSON": lambda told: "{",
    "deep": lambda told: "[" * 100_000,
    "no plan": lambda told: "[]",
    "no devices": lambda told: json.dumps(told | {"devices": []}),
    "a term of text": lambda told: json.dumps(told | {"cost": told["cost"] | {"exchange_s": "long"}}),
    "an unknown model": lambda told: json.dumps(told | {"cost": told["cost"] | {"model": "guess"}}),
    "a stage too many": lambda told: json.dumps(told | {"devices": [told["devices"][0] | {"stage": 9}] * 8}),
}


@pytest.mark.parametrize("name", DAMAGES)
@pytest.mark.parametrize("command", ["simulate", "replan"])
def test_damaged_plans(run, home, plan, name, command):
    plan.write_text(DAMAGES[name](json.loads(plan.read_text())))
    rest = ["-o", "after.json", "--without", "0"] if command == "replan" else []
    refused(run(command, "network.yaml", "plan.json", *rest), r"^error: plan\.json: ")
    assert "after.json" not in files(home)


def test_scipy_is_asked_for(run, home, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    refused(run("plan", "network.yaml", "workload.yaml", "-o", "plan.json"), r"needs SciPy: pip install")
    assert files(home) == EVERY_FILE


def test_probe_wants_several_processes(run, home):
    refused(run("probe", "-o", "network.json"), "expected several processes, got one")
    assert files(home) == EVERY_FILE


@pytest.mark.parametrize(
    "args", [["--budget", "-1"], ["--seed", "-1"], ["--model", "best"], ["--gradient-compression", 0]]
)
def test_options_out_of_range(run, home, args):
    assert run("plan", "network.yaml", "workload.yaml", "-o", "plan.json", *args).code == 2
    assert files(home) == EVERY_FILE
