"""gpu_check.sh on a machine without a GPU: a rehearsal, and what it says of what fails, is skipped or is not run."""

import json
import os
import subprocess
import sys

import pytest
from gpu_check_runs import (
    GOOD,
    ROOT,
    Check,
    folder_of,
    gpu_check,
    gpu_stages,
    gpu_table,
    plan_of,
    rehearse,
    status_of,
)

NO_FLOORS = dict.fromkeys(["baseline", "baseline_s", "speedup", "most_s", "least_speedup", "least_of_floor"])
NO_FLOORS |= {"bytes_floor_s": 0.0, "flops_floor_s": 0.0}


@pytest.mark.slow
def test_a_rehearsal_of_everything(tmp_path):
    """The real benches, tiny; every stage speaks, and every row says that it is rehearsed."""
    status, found, printed = rehearse(tmp_path / "results", "--budget", 1200)
    assert status == 0, printed
    assert found["rehearsal"]
    assert {check["stage"] for check in found["checks"]} == {"machine", *gpu_stages.STAGES}
    names = {path.stem for path in gpu_stages.benches_in(ROOT / "bench")}
    assert set(found["benches"]) == names
    assert names <= set(status_of(found))
    table = (tmp_path / "results/gpu.md").read_text()
    assert table.startswith("# A rehearsal")
    assert table.count("| rehearsed |") == sum(len(bench["rows"]) for bench in found["benches"].values())
    assert len(list((tmp_path / "results").iterdir())) <= 8


def test_a_bench_that_fails_hides_no_other(tmp_path):
    benches = folder_of(tmp_path / "b", solve="raise SystemExit('Rows() are wrong')", cocktail="Rows()", prune="good")
    (benches / "gpu_linear.py").write_text("def Rows(): pass\nRows()  # ends well, writes nothing")
    (benches / "gpu_helper.py").write_text("raise AssertionError('no bench')")
    empty = GOOD + "rows = []\nRows(rows)"
    (benches / "gpu_factor.py").write_text("import json, sys\n" + empty)
    status, found, printed = rehearse(tmp_path / "results", "--benches", benches, STAGES="bench")
    assert status == 1
    expected = {"gpu_solve": "failed", "gpu_cocktail": "failed", "gpu_linear": "failed", "gpu_factor": "failed"}
    expected["gpu_prune"] = "passed"
    assert {name: text for name, text in status_of(found).items() if name.startswith("gpu")} == expected
    assert list(found["benches"]) == ["gpu_prune"]
    assert "Rows() are wrong" in printed
    assert "| layer solve: 4 x 4 |" in printed


def test_the_triton_twins_are_measured_where_a_bench_can_choose(tmp_path):
    choosing = 'parser.add_argument("--backend")\nRows()'
    benches = folder_of(tmp_path / "b", prune="good", linear=choosing, other="good", cocktail=choosing)
    plan = plan_of(tmp_path, rehearsal=False, benches=benches)
    runs = gpu_stages.runs_of(plan)
    assert [name for name, _ in runs] == [
        *("gpu_cocktail", "gpu_linear", "gpu_other", "gpu_prune", "gpu_cocktail triton", "gpu_linear triton")
    ]
    assert runs[-1][1][1:] == ["--device", "cuda", "--backend", "triton", "--few"]
    assert [name for name, _ in gpu_stages.runs_of(plan_of(tmp_path, benches=benches))][-1] == "gpu_prune"
    only = plan_of(tmp_path, benches=benches, only=frozenset(["linear"]))
    assert [name for name, _ in gpu_stages.runs_of(only)] == ["gpu_linear"]


@pytest.mark.parametrize(
    ("test", "status", "note"),
    [
        ("def test_a(): pass", "passed", "1 tests"),
        (
            "import pytest\ndef test_a(): pytest.skip('no GPU')\ndef test_b(): pass",
            "failed",
            "2 tests, 1 skipped. skipped: ",
        ),
        ("def test_a(): assert False\ndef test_b(): pass", "failed", "2 tests, 1 failure. failure: "),
        ("import pytest\n@pytest.mark.cuda\ndef test_a(): pass", "failed", "0 tests"),  # deselected: nothing was proven
        ("import nothing_of_that_name", "failed", "1 tests, 1 error. error: "),
    ],
    ids=["passed", "skipped", "failed", "none", "broken"],
)
def test_nothing_but_passed_tests_will_do(tmp_path, test, status, note):
    path = tmp_path / "test_given.py"
    path.write_text(test)
    (check,) = gpu_stages.tests(plan_of(tmp_path, tests=[path]))
    assert (check.status, check.note[: len(note)]) == (status, note)


def test_a_file_that_does_not_load_hides_no_other(tmp_path):
    names = {"test_broken": "import nothing_of_that_name", "test_fine": "def test_a(): pass"}
    for name, text in names.items():
        (tmp_path / f"{name}.py").write_text(text)
    (check,) = gpu_stages.tests(plan_of(tmp_path, tests=[tmp_path / f"{name}.py" for name in names]))
    assert (check.status, check.note.split(".")[0]) == ("failed", "2 tests, 1 error")


def test_a_second_run_keeps_the_other_stages(tmp_path):
    """A call that ran out of time is followed by one for the rest."""
    benches, path = folder_of(tmp_path / "b", solve="good"), tmp_path / "test_given.py"
    path.write_text("def test_a(): assert False")
    rehearse(tmp_path / "results", "--tests", path, STAGES="tests")
    status, found, _ = rehearse(tmp_path / "results", "--benches", benches, STAGES="bench")
    assert status == 1  # of the first
    assert status_of(found).items() >= {"tests without a GPU": "failed", "gpu_solve": "passed"}.items()


@pytest.mark.parametrize(
    ("statuses", "met", "status"),
    [
        (["passed"], True, 0),
        (["passed"], None, 0),
        (["passed"], False, 4),  # all was proven, and is slower than asked for
        (["passed", "not run"], False, 3),
        (["passed", "not run", "failed"], False, 1),
    ],
)
@pytest.mark.parametrize("rehearsal", [False, True])
def test_the_status_tells_what_failed_before_what_was_missed(tmp_path, statuses, met, status, rehearsal):
    plan = plan_of(tmp_path, rehearsal=rehearsal)
    row = {"group": "layer solve", "case": "4 x 4", "seconds": 0.5, "met": met, **NO_FLOORS}
    plan.rows["gpu_solve"] = {"ceilings": {}, "rows": [row]}
    record = gpu_check.Record(plan, [])
    record.checks = [Check("bench", f"gpu_{number}", kind) for number, kind in enumerate(statuses)]
    assert record.status() == (0 if rehearsal and status == 4 else status)
    assert ("1 of 1 targets were missed" in gpu_table.markdown(record.found())) == (met is False and not rehearsal)


def test_every_test_that_needs_a_gpu_is_among_those_that_run():
    """Files are chosen by what they hold, so that the others need not be imported there."""
    chosen = gpu_stages.tests_on_gpu()
    assert ROOT / "tests/test_on_gpu.py" in chosen
    every = {path for path in (ROOT / "tests").rglob("test_*.py") if "cuda" in path.read_text()}
    marked = {path for path in every if "pytest.mark.cuda" in path.read_text()}
    assert marked <= set(chosen)


def refused(*arguments: object) -> str:
    """The one line that gpu_check says before it does anything."""
    command = ["bash", ROOT / "bench/gpu_check.sh", "--rehearse", *arguments]
    environment = {**os.environ, "PYTHON": sys.executable}
    run = subprocess.run(list(map(str, command)), check=False, capture_output=True, text=True, env=environment)
    assert run.returncode == 2, run.stdout
    assert "Traceback" not in run.stderr
    return run.stderr.splitlines()[-1]


def test_what_makes_no_sense_is_refused_at_once(tmp_path):
    assert "only: expected some of solve" in refused(tmp_path, "--only", "nonsense")
    assert "RESULTS goes first" in refused("--only", "solve", tmp_path)
    assert "budget" in refused(tmp_path, "--budget", -3)
    (tmp_path / "file").write_text("")
    assert "cannot be written" in refused(tmp_path / "file")


def test_a_rehearsal_replaces_no_real_run(tmp_path):
    (tmp_path / "gpu.json").write_text(json.dumps({"rehearsal": False, "benches": {}, "checks": []}))
    assert "holds a run on a GPU" in refused(tmp_path)
    assert json.loads((tmp_path / "gpu.json").read_text())["rehearsal"] is False
