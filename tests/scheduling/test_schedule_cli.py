"""fmcompress schedule: what each command writes and prints."""

import json
from pathlib import Path

import pytest
from schedule_cases import EVERY_FILE, NETWORK, files, refused

from fmcompress.scheduling import read_plan, schedule
from fmcompress.scheduling.files import read_network, read_workload
from fmcompress.scheduling.plan import recosted

pytest_plugins = ["schedule_cases"]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "schedule"


@pytest.mark.parametrize("model", ["paper", "extended"])
def test_plan(run, home, model):
    done = run("plan", "network.yaml", "workload.yaml", "-o", "plan.json", "--plot", "plan.svg", "--model", model)
    assert (done.code, done.stderr) == (0, "")
    found = read_plan(home / "plan.json")
    network, workload = read_network(home / "network.yaml"), read_workload(home / "workload.yaml")
    assert found == schedule(network, workload, model=model)
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["stage", "0", "1", f"{found.cost_s:.4f}"]
    assert f"by the {model} model (exchange {found.cost.exchange_s:.4f}, hand over" in lines[-1]
    assert (home / "plan.svg").read_text().rstrip().endswith("</svg>")
    assert files(home) == EVERY_FILE | {"plan.json", "plan.svg"}


def test_the_gap_is_a_share_of_the_plans_own_cost(run):
    """1 - bound / cost: so much could be saved, which is less than how far the plan may be above the best."""
    args = EXAMPLES / "world-wide.yaml", EXAMPLES / "gpt3-xl.yaml"
    done = run("plan", *args, "-o", "plan.json", "--budget", 0)
    found = read_plan("plan.json")
    assert found.gap > 0.1
    assert f"no plan saves more than {100 * found.gap:.2f} % of it (bound {found.lower_bound_s:.4f} s)" in done.stdout


def test_plan_as_json(run, home):
    done = run("plan", "network.yaml", "workload.yaml", "-o", "plan.json", "--json")
    assert json.loads(done.stdout) == json.loads((home / "plan.json").read_text())


def test_a_seed_gives_the_same_bytes(run, home):
    for name in "ab":
        assert run("plan", "network.yaml", "workload.yaml", "-o", name, "--seed", 3).code == 0
    assert (home / "a").read_bytes() == (home / "b").read_bytes()


def test_compression_is_that_of_the_flags(run, home):
    flags = "--gradient-compression", 88, "--activation-compression", 2
    run("plan", "network.yaml", "workload.yaml", "-o", "dense.json")
    run("plan", "network.yaml", "workload.yaml", "-o", "plan.json", *flags)
    found = read_plan(home / "plan.json")
    assert (found.workload.gradient_compression, found.workload.activation_compression) == (88, 2)
    assert found.cost_s < read_plan(home / "dense.json").cost_s


def test_exact_agrees_with_the_search(run, home):
    pytest.importorskip("ortools")
    assert run("plan", "network.yaml", "workload.yaml", "-o", "exact.json", "--exact").code == 0
    run("plan", "network.yaml", "workload.yaml", "-o", "plan.json")
    exact, found = read_plan(home / "exact.json"), read_plan(home / "plan.json")
    assert exact.cost_s == pytest.approx(found.cost_s, rel=1e-9)
    assert exact.gap < 1e-6


def test_exact_is_for_few_devices(run, home):
    network, workload = EXAMPLES / "world-wide.yaml", EXAMPLES / "gpt3-xl.yaml"
    refused(run("plan", network, workload, "-o", "plan.json", "--exact"), "at most 16 devices, and the network has 64")
    assert files(home) == EVERY_FILE


def test_replan(run, home, plan):
    before = read_plan(plan)
    gone = [before.names[device] for device in before.mesh[0][:1]]
    done = run("replan", "network.yaml", plan, "-o", "after.json", "--plot", "after.png", "--without", *gone)
    assert done.code == 0
    after = read_plan(home / "after.json")
    left = before.names.index(gone[0])
    assert after.stage_of[left] == -1
    moved = [d for d, s in enumerate(before.stage_of) if s >= 0 and d != left and after.stage_of[d] != s]
    assert not moved
    assert done.stderr.startswith("5 of 6 devices keep their stage; 3 replicas of 3, ")
    assert (home / "after.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("names", "message"), [
    (["Paris-1"], "Paris-1: no such device. There are Oregon-0, Oregon-1"),
    (["8"], "8: no such device"),
    ([f"Oregon-{i}" for i in range(4)] + [f"Tokyo-{i}" for i in range(4)], "no device left"),
])  # fmt: skip
def test_replan_without_whom(run, home, plan, names, message):
    without = [part for name in names for part in ("--without", name)]
    refused(run("replan", "network.yaml", plan, "-o", "after.json", *without), message)
    assert files(home) == {*EVERY_FILE, "plan.json"}


def test_compare(run, home):
    done = run("compare", "network.yaml", "workload.yaml", "--random", 3, "--plot", "compare.png", "--json")
    assert (done.code, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    least = min(plan["cost_s"] for plan in told["plans"].values())
    assert {"random", "contiguous", "strided", "search"} <= told["plans"].keys()
    assert told["plans"]["search"]["cost_s"] == pytest.approx(least)
    assert len(told["random_s"]) == 3
    assert told["bound_s"] <= least * (1 + 1e-9)
    for plan in told["plans"].values():
        assert plan["gap"] == pytest.approx(1 - told["bound_s"] / plan["cost_s"], abs=1e-9)
    assert ("exact" in told["plans"]) == (not told["no_exact"])
    assert files(home) == EVERY_FILE | {"compare.png"}


def test_compare_says_why_nothing_is_exact(run):
    done = run("compare", EXAMPLES / "data-centre.yaml", EXAMPLES / "gpt3-xl.yaml", "--random", 1)
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[1:5]] == ["random", "contiguous", "strided", "search"]
    assert lines[5].strip() == "no exact plan: 64 devices, and at most 16 can be solved exactly"
    assert lines[3].split()[1:] == ["2.9120", "0.5278", "0.0000", "0.0000", "3.4398", "1.000", "0.00", "%"]


def test_simulate(run, home, plan):
    done = run("simulate", "network.yaml", plan, "--plot", "gantt.png", "--json")
    assert (done.code, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert told["counted_s"] == pytest.approx(read_plan(plan).cost_s)
    assert told["simulated"]["total_s"] == pytest.approx(told["counted_s"], rel=0.2)
    table = run("simulate", "network.yaml", plan, "--delays", "blocking", "--model", "paper").stdout.splitlines()
    assert [line.split()[0] for line in table] == ["seconds", "pipeline", "exchange", "step"]
    counted = recosted(read_plan(plan), read_network(home / "network.yaml"), "paper").cost_s
    assert table[-1].split()[2] == f"{counted:.4f}"
    assert files(home) == EVERY_FILE | {"plan.json", "gantt.png"}


def test_a_plan_for_other_devices(run, home, plan):
    """Of as many, too: their costs would mean nothing."""
    (home / "network.yaml").write_text(NETWORK.replace("Tokyo", "Seoul"))
    message = r"plan\.json: is a plan for other devices: 8, Oregon-0 to Tokyo-3; the network has 8, Oregon-0 to Seoul-3"
    refused(run("simulate", "network.yaml", plan), message)
    refused(run("replan", "network.yaml", plan, "-o", "after.json", "--without", "0"), message)
    assert "after.json" not in files(home)
