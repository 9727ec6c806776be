"""The tables of gpu_check.sh: floors, shares, what is met, runs put together, and the README's table from them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "bench"))
import gpu_table  # noqa: E402
import gpu_targets  # noqa: E402

NONE = {"baseline": None, "baseline_s": None, "speedup": None, "most_s": None, "least_speedup": None}
NONE |= {"least_of_floor": None, "met": None, "bytes_floor_s": 0.0, "flops_floor_s": 0.0}


def row(group: str = "layer solve", seconds: float = 8e-3, **more: object) -> dict:
    return {**NONE, "group": group, "case": "4096 x 4096", "seconds": seconds, **more}


SOLVE = row(baseline="the eager loop", baseline_s=0.24, speedup=30.0, most_s=10e-3, least_speedup=25.0, met=True,
            bytes_floor_s=1e-4, flops_floor_s=2e-3)  # fmt: skip


def run(
    *rows: dict, rehearsal: bool = False, bench: str = "gpu_solve", checks: tuple = (("bench", "gpu_solve", "passed"),)
):
    named = [
        {"stage": stage, "name": name, "status": status, "seconds": 1.0, "note": ""} for stage, name, status in checks
    ]
    benches = {bench: {"ceilings": {"copy": 4e12}, "rows": list(rows)}} if rows else {}
    return {"rehearsal": rehearsal, "seconds": 9.0, "facts": {"gpu": "a GPU"}, "checks": named, "benches": benches}


def test_cells_of_a_row():
    cells = gpu_table.cells(SOLVE)
    assert cells[:3] == ["layer solve: 4096 x 4096", "8 ms", "the eager loop: 240 ms"]
    assert cells[3:6] == ["30", "100 µs / 2 ms", "25 %"]
    assert cells[6:] == ["≤ 10 ms, ≥ 25 ×", "yes"]
    assert gpu_table.cells({**SOLVE, "met": False})[-1] == "**no**"
    assert gpu_table.cells(SOLVE, rehearsal=True)[-1] == "rehearsed"
    assert gpu_table.cells(row())[1:] == ["8 ms", "–", "–", "– / –", "–", "–", "–"]


@pytest.mark.parametrize(("seconds", "text"), [(2, "2 s"), (0.0451, "45.1 ms"), (4.5e-4, "450 µs"), (3e-8, "0.03 µs")])
def test_times(seconds, text):
    assert gpu_table.time_of(seconds) == text


def test_the_printed_table_keeps_checks_and_targets_when_it_is_cut():
    many = [row("packed matvec", case=f"form {number}") for number in range(400)]
    found = run(*many, SOLVE, checks=(("tests", "tests marked cuda", "failed"),))
    whole, cut = gpu_table.markdown(found), gpu_table.markdown(found, 5000)
    assert whole.count("packed matvec") == 400
    assert len(cut) <= 5000
    assert "tests marked cuda | **failed**" in cut
    assert "| 25 % | ≤ 10 ms, ≥ 25 × | yes |" in cut
    assert cut.endswith("More rows are in gpu.md.\n")
    failing = [{"stage": "bench", "name": "a bench", "status": "failed", "seconds": 9.0, "note": "x" * 1500}] * 30
    missed = {**SOLVE, "case": "the one that is missed", "met": False}
    cut = gpu_table.markdown({**run(*[SOLVE] * 200, missed), "checks": failing}, 11_000)
    assert len(cut) <= 11_000
    assert cut.count("**failed**") == 30
    assert "the one that is missed" in cut


def test_cells_may_hold_what_would_divide_them():
    assert "a/b" in gpu_table.markdown(run(row(case="a|b")))


def test_later_runs_win_stage_by_stage():
    first = run(SOLVE, checks=(("build", "it", "passed"), ("tests", "a", "failed"), ("bench", "gpu_solve", "passed"),
                               ("bench", gpu_table.REST, "not run")))  # fmt: skip
    second = run(
        row("decode"), bench="gpu_decode", checks=(("tests", "a", "passed"), ("bench", "gpu_decode", "passed"))
    )
    whole = gpu_table.merged([{}, first, second])
    checks = [(check["name"], check["status"]) for check in whole["checks"]]
    assert checks == [("it", "passed"), ("gpu_solve", "passed"), ("a", "passed"), ("gpu_decode", "passed")]
    assert set(whole["benches"]) == {"gpu_solve", "gpu_decode"}
    again = gpu_table.merged([whole, run(row(seconds=7e-3))])
    assert again["benches"]["gpu_solve"]["rows"][0]["seconds"] == 7e-3


def test_what_was_rehearsed_never_mixes_with_what_was_measured():
    whole = gpu_table.merged([run(SOLVE, rehearsal=True), run(row("decode"), bench="gpu_decode", checks=())])
    assert set(whole["benches"]) == {"gpu_decode"}
    assert not whole["rehearsal"]
    assert gpu_table.readme(run(SOLVE, rehearsal=True)) == gpu_table.readme({})


def test_the_readme_has_a_row_for_each_target():
    lines = gpu_table.readme({}).splitlines()[2:]
    assert len(lines) == len(gpu_targets.TARGETS)
    assert all(gpu_table.NO_GPU in line and line.endswith("| unproven |") for line in lines)
    slow = {**SOLVE, "seconds": 9e-3, "case": "the slower", "speedup": 20.0}
    lines = gpu_table.readme(run(SOLVE, slow)).splitlines()[2:]
    measured = "9 ms (the slower); best 8 ms (4096 x 4096)"
    assert lines[0].endswith(f"| {measured} | the eager loop: 240 ms | 20 | 22 % | yes |")
    assert lines[1].endswith(f"| {measured} | the eager loop: 240 ms | 20 | 22 % | 1 of 2 |")  # 25 times was asked for
    assert all("unproven" in line for line in lines[2:])
    assert gpu_table.readme(run(slow)).splitlines()[3].endswith("| 20 | 22 % | **no** |")


def test_the_readme_is_as_the_program_prints_it():
    """Whoever has measured replaces the table by what the program makes of gpu.json."""
    text = (ROOT / "README.md").read_text()
    section = text.split("\n## On a GPU\n", 1)[1].split("\n## ", 1)[0]
    heads = gpu_table.readme({}).splitlines()[0]
    lines = section[section.index(heads) :].split("\n\n", 1)[0].splitlines()
    names = [line.split(" | ")[0].removeprefix("| ") for line in lines[2:]]
    assert names == [target.name for target in gpu_targets.TARGETS]
    if gpu_table.NO_GPU in lines[2]:
        assert "\n".join(lines) + "\n" == gpu_table.readme({})


def test_floors_of_targets():
    floors = [target.floor_s for target in gpu_targets.TARGETS]
    asked = [target.value for target in gpu_targets.TARGETS if target.field == "most_s"]
    assert all(floor > 0 for floor in floors)
    assert all(target.floor_s < target.value for target in gpu_targets.TARGETS if target.field == "most_s"), asked
    assert gpu_targets.dense_weights() == 6_979_321_856  # of a Llama of 8 billion, without its embeddings


def test_the_program_says_what_is_no_run(tmp_path):
    program = [sys.executable, ROOT / "bench/gpu_table.py"]
    path = tmp_path / "gpu.json"
    path.write_text(json.dumps(run(SOLVE)))
    printed = subprocess.run([*program, path], check=True, capture_output=True, text=True).stdout
    assert printed == gpu_table.markdown(run(SOLVE))
    path.write_text("{")
    failed = subprocess.run([*program, path], check=False, capture_output=True, text=True)
    assert failed.returncode == 2
    assert "expected what gpu_check.py writes" in failed.stderr


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"benches": []}',
        '{"rehearsal": 1}',
        '{"rehearsal": false, "benches": {"a": null}, "checks": []}',
    ],
)
def test_a_file_of_something_else_is_no_run(tmp_path, text):
    (tmp_path / "gpu.json").write_text(text)
    assert gpu_table.read(tmp_path / "gpu.json") == {}
