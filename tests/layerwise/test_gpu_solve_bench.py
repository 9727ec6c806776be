"""The bench of the solve on a GPU rehearses on a machine without one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "bench"))
FORMS = ["plain", "captured", "tf32x3", "captured tf32x3"]


def test_rehearsal(tmp_path):
    path = tmp_path / "rows.json"
    command = [sys.executable, ROOT / "bench" / "gpu_solve.py", "--device", "cpu", "--small", "--json", path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    run = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    told = json.loads(path.read_text())
    assert told["small"]
    rows = {row["case"]: row for row in told["rows"]}
    assert len(rows) == len(told["rows"]) == (4 + 2) * len(FORMS)
    assert {row["group"] for row in rows.values()} == {"layer solve"}
    assert all(row["facts"]["bit_stable"] for row in rows.values())
    row = rows["96 x 256, 50 %, plain"]
    assert row["flops"] == 256**3 / 3 + 96 * 256**2
    assert row["bytes"] == 4 * (2 * 96 * 256 + 256 * 256)
    assert row["facts"]["loss_difference"] < 1e-3
    assert min(row["facts"][part] for part in ("factor_s", "select_s", "sweep_s")) > 0
    loops = {case for case, row in rows.items() if row["baseline"] == "eager loop"}
    assert loops == {f"96 x 256, {method}, {form}" for method in ("50 %", "2:4", "4-bit g128") for form in FORMS}


def test_targets_are_the_issues():
    from gpu_solve import SHAPES

    targets = {(shape.rows, shape.cols): (shape.most_s, shape.least_speedup) for shape in SHAPES}
    assert targets == {
        (4096, 4096): (0.010, 25.0),
        (1024, 4096): (None, None),
        (14336, 4096): (None, None),
        (4096, 14336): (0.120, None),
    }


def test_a_wrong_result_ends_the_bench(monkeypatch):
    import gpu_solve
    from gpu import Rows

    device = torch.device("cpu")
    shape = gpu_solve.Shape(16, 256, eager_rounds=1)
    given = gpu_solve.layer(16, 256, device)
    assert gpu_solve.measure(shape, "2:4", given, Rows(device, small=True), 1) == []
    right = gpu_solve.solver

    def of_another_layer(weight, hessian, method, **rest):
        return right(weight.flip(0), hessian, method, **rest)

    monkeypatch.setattr(gpu_solve, "solver", of_another_layer)
    wrong = gpu_solve.measure(shape, "2:4", given, Rows(device, small=True), 1)
    assert any("not as the eager loop" in text for text in wrong)


def test_a_random_result_ends_the_bench(monkeypatch):
    import gpu_solve
    from gpu import Rows

    device, calls = torch.device("cpu"), []
    right = gpu_solve.solver

    def unstable(weight, hessian, method, **rest):
        def run():
            calls.append(1)
            return right(weight * (1 + 1e-3 * len(calls)), hessian, method, **rest)()

        return run

    monkeypatch.setattr(gpu_solve, "solver", unstable)
    given = gpu_solve.layer(16, 256, device)
    wrong = gpu_solve.measure(gpu_solve.Shape(16, 256), "2:4", given, Rows(device, small=True), 1)
    assert any("other bits in another run" in text for text in wrong)
    monkeypatch.setattr(sys, "argv", ["gpu_solve.py", "--device", "cpu", "--small"])
    monkeypatch.setattr(gpu_solve, "SMALL", [gpu_solve.Shape(16, 256)])
    with pytest.raises(SystemExit, match="other bits"):
        gpu_solve.main()
