"""gpu_check.sh where time ends, or somebody ends it: what was measured is kept, and what was not run says so."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from gpu_check_runs import (
    ROOT,
    Clock,
    Ended,
    Plan,
    Processes,
    folder_of,
    gpu_check,
    gpu_plan,
    gpu_stages,
    plan_of,
    rehearse,
    status_of,
)


def test_what_no_time_is_left_for_is_not_run(tmp_path):
    slow = "import time\ntime.sleep(60)\nRows()"
    benches = folder_of(tmp_path / "b", solve=slow, other="good", prune="good")
    begin = time.monotonic()
    status, found, _ = rehearse(tmp_path / "results", "--benches", benches, "--stages", "bench", "--budget", 12)
    assert time.monotonic() - begin < 50
    assert status == 3
    names = [check["name"] for check in found["checks"]]
    assert names[-3:] == ["gpu_solve", "gpu_other", "gpu_prune"]
    assert [check["status"] for check in found["checks"][-3:]] == ["not run"] * 3


def test_rows_of_a_bench_that_is_ended_are_kept(tmp_path):
    """Each is on disk before the next is measured: an hour of a GPU may end at any time."""
    bench = f"""
import sys, time
from pathlib import Path
sys.path.insert(0, {str(ROOT / "bench")!r})
import torch
from gpu import Row, Rows
rows = Rows(torch.device("cpu"), small=True, path=Path(sys.argv[sys.argv.index("--json") + 1]))
rows.add(Row("layer solve", "the first", 1.0))
time.sleep(600)
"""
    benches = folder_of(tmp_path / "b", solve=bench)
    status, found, printed = rehearse(tmp_path / "results", "--benches", benches, "--stages", "bench", "--budget", 25)
    assert status == 3
    assert status_of(found)["gpu_solve"] == "not run"
    assert [row["case"] for row in found["benches"]["gpu_solve"]["rows"]] == ["the first"]
    assert "layer solve: the first" in printed


def test_every_bench_leaves_its_rows_as_it_goes():
    for path in gpu_stages.benches_in(ROOT / "bench"):
        assert re.search(r"Rows\(.*path=\w+\.json\)", path.read_text()), path


def test_a_bench_that_is_asked_for_alone_has_all_the_time(tmp_path, monkeypatch):
    limits = {}

    def run(plan, command, log, share=1.0, most_s=1e9, **_):
        limits[Path(command[0]).stem] = most_s
        return Ended(0, 0.1, "")

    monkeypatch.setattr(Plan, "run", run)
    benches = folder_of(tmp_path / "b", prune="good", solve="good")
    for only in (frozenset(), frozenset(["prune"])):
        plan = plan_of(tmp_path, rehearsal=False, benches=benches, only=only)
        plan.clock = Clock(500)
        list(gpu_stages.bench(plan))
        assert (limits["gpu_prune"] > 490) == bool(only)
        assert ("--no-eager" in dict(gpu_stages.runs_of(plan))["gpu_prune"]) == (not only)
    limits.clear()
    plan = plan_of(tmp_path, rehearsal=False, benches=benches)
    plan.clock = Clock(90)  # too little for a whole prune: it would take the time of what comes after it
    checks = {check.name: check for check in gpu_stages.bench(plan)}
    assert "gpu_prune" not in limits
    assert checks["gpu_prune"].status == "not run"
    assert checks["gpu_prune"].note.endswith("run it with --only prune")


def test_all_that_is_expected_fits_into_the_budget():
    """Each bench has an estimate, also of its run with the Triton twins, and only what the plan names has one."""
    plan = plan_of(ROOT, rehearsal=False)
    names = [gpu_stages.short(name) for name, _ in gpu_stages.runs_of(plan)]
    assert {"machine", "build", "tests", *names} == gpu_plan.EXPECTED_S.keys()
    assert gpu_plan.SHARED.keys() <= set(names)
    assert sum(gpu_plan.EXPECTED_S.values()) < gpu_plan.BUDGET_S


def test_what_a_shared_run_leaves_out_is_an_option_of_the_bench():
    for name, options in gpu_plan.SHARED.items():
        source = (ROOT / f"bench/gpu_{name.split()[0]}.py").read_text()
        assert all(f'"{option}"' in source for option in options), name


def test_kernels_that_were_seen_to_load_are_not_loaded_again(tmp_path, monkeypatch):
    monkeypatch.setattr(Plan, "run", lambda *given, **more: Ended(0, 0.1, "native: cuda"))
    plan = plan_of(tmp_path, rehearsal=False, benches=folder_of(tmp_path / "b", solve="good"))
    list(gpu_stages.build(plan))
    assert "the kernels load" not in {check.name for check in gpu_stages.bench(plan)}


def test_nothing_is_measured_without_a_word_where_the_kernels_do_not_load(tmp_path, monkeypatch):
    """On a fresh machine STAGES=bench alone finds none, and commands would time the reference."""
    monkeypatch.setattr(Plan, "run", lambda *given, **more: Ended(1, 0.1, "AssertionError"))
    plan = plan_of(tmp_path, rehearsal=False, benches=folder_of(tmp_path / "b"))
    assert {check.name: check.status for check in gpu_stages.bench(plan)}["the kernels load"] == "failed"


def test_what_is_ended_from_outside_has_not_failed(tmp_path):
    path, started = tmp_path / "test_given.py", tmp_path / "started"
    path.write_text(
        f"import pathlib, time\ndef test_a():\n    pathlib.Path({str(started)!r}).touch()\n    time.sleep(99)"
    )
    results = tmp_path / "results"
    command = ["bash", ROOT / "bench/gpu_check.sh", "--rehearse", "--stages", "tests", "--tests", path, results]
    run = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHON": sys.executable}
    )
    while not started.exists() and run.poll() is None:
        time.sleep(0.1)
    run.terminate()
    printed = run.communicate(timeout=60)[0]
    found = json.loads((results / "gpu.json").read_text())
    assert status_of(found) == {"what it has": "passed", "the rest of it": "not run"}
    assert printed.count("# A rehearsal") == 1
    assert "failed" not in printed


def test_a_run_that_is_ended_leaves_what_it_found(tmp_path):
    benches = folder_of(tmp_path / "b", solve="good", cocktail="import time\ntime.sleep(600)\nRows()")
    results = tmp_path / "results"
    command = ["bash", ROOT / "bench/gpu_check.sh", "--rehearse", "--stages", "bench", "--benches", benches, results]
    run = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHON": sys.executable}
    )
    for line in run.stdout:
        if "bench: gpu_solve" in line:
            break
    run.terminate()
    printed = run.communicate(timeout=60)[0]
    assert run.returncode == 128 + 15
    found = json.loads((results / "gpu.json").read_text())
    assert list(found["benches"]) == ["gpu_solve"]
    assert status_of(found)["the rest of it"] == "not run"
    assert "# A rehearsal" in printed


def test_a_process_and_its_children_end_at_the_limit(tmp_path):
    marker = tmp_path / "alive"
    script = f"(sleep 3; touch {marker}) & sleep 60"
    ended = Processes(os.environ).run(["bash", "-c", script], 0.5)
    assert ended.status is None
    time.sleep(4)
    assert not marker.exists()


def test_an_output_that_stays_open_ends_at_the_limit(tmp_path):
    """A descendant in a session of its own is not killed, and holds the pipe."""
    begin = time.monotonic()
    ended = Processes(os.environ).run(["bash", "-c", "echo said; setsid sleep 25 & sleep 60"], 0.5)
    assert time.monotonic() - begin < 20
    assert ended.status is None
    assert "said" in ended.output


def test_programs_of_the_virtual_environment_are_found(tmp_path, monkeypatch):
    """PYTHON=venv/bin/python alone does not put its ninja on the PATH; and what a bench leaves ends with the run."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin/python"))
    found = gpu_check.environment(tmp_path)
    assert found["PATH"].split(os.pathsep)[0] == str(tmp_path / "bin")
    assert found["TMPDIR"] == str(tmp_path)


def test_a_build_without_ninja_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(Plan, "run", lambda *given, **more: Ended(0, 0.1, ""))
    plan = plan_of(tmp_path, rehearsal=False)
    plan.processes.environment["PATH"] = str(tmp_path)
    assert "ninja" in next(gpu_stages.machine(plan)).note
