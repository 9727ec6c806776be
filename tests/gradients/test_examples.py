"""The short examples, started as their first lines say."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec

import pytest
from conftest import ROOT


@pytest.mark.parametrize(
    ("name", "needs"),
    [("accelerate", "accelerate"), ("trainer", "accelerate"), ("fsdp2", "torch"), ("lightning", "lightning")],
)
def test_example_trains_on_two_workers(tmp_path, name, needs):
    if not find_spec(needs):
        pytest.skip(f"{needs} is not installed")
    script, out = ROOT / "examples" / f"gradients_{name}.py", [str(tmp_path)] if name == "trainer" else []
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "CUDA_VISIBLE_DEVICES": ""}
    environment["PYTHONFAULTHANDLER"] = "1"  # says where, if torch aborts while a process ends
    done = subprocess.run(
        [*command, *out, "--steps", "30"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    before, after = map(float, re.findall(r"loss ([\d.]+) before, ([\d.]+) after 30 steps", done.stdout)[0])
    sent, dense = (
        int(text.replace(",", "")) for text in re.findall(r"sent ([\d,]+) bytes; dense fp16: ([\d,]+)", done.stdout)[0]
    )
    assert after < 0.9 * before
    assert 0 < sent < dense / 2  # five of the steps are dense, in float32
