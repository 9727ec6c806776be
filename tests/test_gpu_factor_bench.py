"""The bench of the factor on a GPU, rehearsed on a CPU with small matrices."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCH = Path(__file__).parents[1] / "bench"


def test_rehearsal(tmp_path):
    command = [sys.executable, BENCH / "gpu_factor.py", "--device=cpu", "--small", "--json", tmp_path / "rows.json"]
    run = subprocess.run(command, check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    found = json.loads((tmp_path / "rows.json").read_text())
    assert found["small"]
    assert len({row["case"] for row in found["rows"]}) == 7
    for row in found["rows"]:
        assert row["seconds"] > 0
        assert row["baseline_s"] > 0
        assert row["flops_floor_s"] > 0
        assert 0 < row["facts"]["residual"] < 1e-5
        assert row["met"] is None  # what a CPU takes says nothing of a GPU's targets


def test_a_wrong_factor_is_not_timed(monkeypatch):
    monkeypatch.syspath_prepend(BENCH)
    import gpu
    import gpu_factor

    honest = gpu_factor.factor_hessian

    def wrong(hessian, damping):
        factor = honest(hessian, damping)
        factor.upper[0, 0] *= 1.01
        return factor

    monkeypatch.setattr(gpu_factor, "factor_hessian", wrong)
    with pytest.raises(SystemExit, match="off by"):
        gpu_factor.measure_hessian(gpu.Rows(torch.device("cpu"), small=True), 64)
