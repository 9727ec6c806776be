"""The bench of experts rehearses on a machine without a GPU, and refuses to time what differs."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "bench"))


def test_a_rehearsal(tmp_path):
    path = tmp_path / "rows.json"
    command = [sys.executable, ROOT / "bench/gpu_experts.py", "--device", "cpu", "--small", "--json", path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    run = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    told = json.loads(path.read_text())
    assert told["small"]
    assert [row["case"].split(", ")[1] for row in told["rows"]] == ["50 %", "2:4", "50 % + 4 bits"]
    assert all(row["baseline"] == "one by one" and row["speedup"] > 0 for row in told["rows"])
    assert all(row["bytes_floor_s"] > 0 and row["flops_floor_s"] > 0 for row in told["rows"])


def test_what_differs_is_not_timed():
    import gpu_experts as bench
    import torch

    found = bench.one_by_one(*bench.inputs(bench.SMALL[0], torch.device("cpu")), *bench.METHODS["2:4"])
    bench.check(found, found)
    for wrong in (replace(found[1], zeros=found[1].zeros + 1), replace(found[1], loss=1.1 * found[1].loss)):
        with pytest.raises(SystemExit, match="expert 1"):
            bench.check([found[0], wrong, *found[2:]], found)
    rounded = [replace(one, quantized=object()) for one in found]  # then some zeros may lie elsewhere
    near, far = (replace(rounded[1], zeros=int(rounded[1].zeros * share)) for share in (1.005, 1.02))
    bench.check([rounded[0], near, *rounded[2:]], rounded)
    with pytest.raises(SystemExit, match="expert 1"):
        bench.check([rounded[0], far, *rounded[2:]], rounded)
