"""The command run in a folder with a network and a workload, for tests of `fmcompress schedule`."""

import pytest
from helpers import invoke
from schedule_cases import NETWORK, WORKLOAD


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
