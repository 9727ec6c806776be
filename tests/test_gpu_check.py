"""gpu_check.sh on a machine without a GPU: a rehearsal, and what it says of what fails, is skipped or is not run."""

import json
import os
import re
import subprocess
import sys

import pytest
import triton_cases
from gpu_check_runs import (
    GOOD,
    ROOT,
    Check,
    Ended,
    Plan,
    folder_of,
    gpu_check,
    gpu_sanitize,
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


@pytest.mark.parametrize(
    ("output", "status", "expected"),
    [
        ("ok\n========= ERROR SUMMARY: 0 errors", 0, "passed"),
        ("ok\n========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)", 0, "passed"),
        ("========= Invalid __global__ write of size 4 bytes\n========= ERROR SUMMARY: 1 error", 86, "failed"),
        ("AssertionError: wrong", 1, "failed"),
        ("========= Invalid __global__ write\n========= ERROR SUMMARY: 1 error\nAssertionError: x", 1, "failed"),
        ("x\n========= RACECHECK SUMMARY: 2 hazards displayed (0 errors, 2 warnings)", 0, "failed"),
        ("ok", 0, "not run"),  # nothing that the tool says of itself
        ("========= COMPUTE-SANITIZER", None, "not run"),
    ],
)
def test_what_a_sanitizer_says(output, status, expected):
    check = gpu_sanitize.judged("memcheck, native", Ended(status, 1.0, output))
    assert check.status == expected
    assert expected != "failed" or re.search("wr|2 hazards", check.note)


READ = "========= Uninitialized __global__ memory read of size 4 bytes\n=========     at {}+0x70\n"


@pytest.mark.parametrize(
    ("kernels", "more", "expected"),
    [
        (["void at::native::reduce_kernel<512>(float)", "void cub::DeviceScan(int)"], 0, "passed"),
        (["void at::native::reduce_kernel<512>(float)", "(anonymous namespace)::move_kernel(int)"], 0, "failed"),
        (["void at::native::reduce_kernel<512>(float)"], 1, "failed"),  # what was not printed may be ours
    ],
)
def test_reads_inside_of_torch_are_no_fault_of_ours(kernels, more, expected):
    count = len(kernels) + more
    summary = f"========= ERROR SUMMARY: {count} error{'s' * (count > 1)}"
    ended = Ended(86, 1.0, "".join(map(READ.format, kernels)) + summary)
    assert gpu_sanitize.judged("initcheck, native", ended).status == expected


def test_filters_take_mangled_names_and_leave_our_kernels_in():
    """A filter that matched one of ours would prove nothing of it, without a word."""
    import gpu_small

    for name in gpu_small.native_kernels() | gpu_small.triton_kernels():
        assert not re.search(gpu_sanitize.FOREIGN, name)
        assert not re.search(gpu_sanitize.FOREIGN, f"_ZN10fmcompress44_GLOBAL__N__{len(name)}{name}IfLi4EEEvPT_")
    torchs = "_ZN2at6native29vectorized_elementwise_kernelILi4EE", "_ZN3cub17CUB_300_SM_9016DeviceScanKernelE"
    for name in (
        *torchs,
        "_ZN7cutlass6Kernel2E",
        "sm90_xmma_gemm_f32f32",
        "nvjet_hsh_128x256",
        "ampere_sgemm_128x64_tn",
    ):
        assert re.search(gpu_sanitize.FOREIGN, name)
    assert not {"--kernel-name-exclude"} & set(gpu_sanitize.MORE["initcheck"])  # it must see what those write


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo '========= Invalid __global__ write of size 4 bytes'; exit 86", ""),
        ("echo '========= Invalid __global__ write of size 4 bytes'; exit 1", ""),  # the program may fail by the fault
        ("echo '========= Error: Device not supported'; exit 86", "it did not find a planted fault: Error: Device not"),
        ("echo '========= Program hit an API error'; exit 86", "it did not find a planted fault: Program hit"),
        ("exit 0", "it did not find a planted fault: no output"),
        ('[[ "$*" == *exclude* ]] && { echo unknown; exit 1; } || echo "========= Invalid __global__ write"', ""),
    ],
)
def test_a_tool_must_find_its_planted_fault(tmp_path, script, why):
    program = tmp_path / "compute-sanitizer"
    program.write_text(f"#!/bin/bash\n{script}\n")
    program.chmod(0o755)
    plan = plan_of(tmp_path)
    command, actual = gpu_sanitize.proven(plan, str(program), "memcheck", ["planted", "memcheck"])
    assert actual.startswith(why)
    assert bool(command) == (not why)
    assert ("--kernel-name-exclude" in command) == (not why and "exclude" not in script)


def test_without_a_sanitizer_nothing_is_green(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_sanitize, "sanitizer", lambda toolkit: None)
    monkeypatch.setattr(Plan, "run", lambda *given, **more: Ended(0, 0.1, "all kernels were launched"))
    plan = plan_of(tmp_path, rehearsal=False)
    checks = {check.name: check.status for check in gpu_sanitize.sanitize(plan)}
    assert all(checks[tool] == "not run" for tool in gpu_sanitize.TOOLS)


def test_triton_compiles_beside_nvcc_where_both_are_wanted(tmp_path, monkeypatch):
    told = []

    def run(plan, command, *given, **more):
        told.append(" ".join(map(str, command[1:])))
        return Ended(0, 0.1, "all kernels were launched")

    monkeypatch.setattr(Plan, "run", run)
    monkeypatch.setattr(gpu_sanitize, "sanitizer", lambda toolkit: None)
    monkeypatch.setattr(gpu_check, "machine", lambda plan: [])
    for chosen, begun in ((["build"], False), (["build", "sanitize"], True), (["sanitize"], False)):
        told.clear()
        plan = plan_of(tmp_path, rehearsal=False)
        record = gpu_check.Record(plan, chosen)
        gpu_check.run(record)
        assert bool(plan.begun) == begun
        assert told.count("triton --kernels") == ("sanitize" in chosen)  # once
        said = [check.name for check in record.checks]
        assert ("kernels that the small cases launch, triton" in said) == ("sanitize" in chosen)


def test_no_kernel_is_overlooked_by_the_small_cases():
    code = "import gpu_small; assert len(gpu_small.native_kernels()) > 20; assert len(gpu_small.triton_kernels()) > 20"
    triton_cases.in_a_process(code)


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
