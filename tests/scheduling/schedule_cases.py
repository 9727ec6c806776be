"""What tests of `fmcompress schedule` share: files that it takes, and what a refusal looks like."""

import re

import pytest
from helpers import invoke

NETWORK = """
devices: {Oregon: 4, Tokyo: 4}
inside: {delay_ms: 1, bandwidth_gbps: 10}
between: {delay_ms: 50, bandwidth_gbps: 0.5}
flops_per_s: 1e13
memory_gb: 16
"""
WORKLOAD = """
stages: 2
replicas: 3
activation_bytes: 1e8
gradient_bytes: 2e8
micro_batches: 4
flops: 1e13
state_bytes: 8e9
"""
EVERY_FILE = {"network.yaml", "workload.yaml"}


def files(home):
    return {path.name for path in home.iterdir()}


def refused(outcome, message, code=2):
    assert outcome.code == code, outcome.stderr
    assert outcome.stdout == ""
    assert re.fullmatch(r"error: [^\n]+\n", outcome.stderr), outcome.stderr
    assert re.search(message, outcome.stderr), outcome.stderr


@pytest.fixture
def home(tmp_path):
    (tmp_path / "network.yaml").write_text(NETWORK)
    (tmp_path / "workload.yaml").write_text(WORKLOAD)
    return tmp_path


@pytest.fixture
def run(home, capsys, monkeypatch):
    monkeypatch.chdir(home)

    def run(*args):
        return invoke(capsys, "schedule", *args)

    return run


@pytest.fixture
def plan(run, home):
    assert run("plan", "network.yaml", "workload.yaml", "-o", "plan.json", "--model", "extended").code == 0
    return home / "plan.json"
