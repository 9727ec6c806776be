"""The bench of CocktailSGD's ops on a GPU, rehearsed on a CPU with tiny tensors."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from op_support import needs_native

BENCH = Path(__file__).parents[1] / "bench"
OPS = ("gradient float32", "gradient bfloat16", "delta", "mean of 8", "add_payload", "decompress", "torch.topk")


@needs_native
def test_rehearsal(tmp_path):
    command = [sys.executable, BENCH / "gpu_cocktail.py", "--device=cpu", "--small", "--json", tmp_path / "rows.json"]
    run = subprocess.run(command, check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    found = json.loads((tmp_path / "rows.json").read_text())
    assert found["small"]
    cases = [row["case"] for row in found["rows"]]
    assert len(set(cases)) == 14
    assert all(sum(case.startswith(op) for case in cases) == 2 for op in OPS)
    for row in found["rows"]:
        assert row["seconds"] > 0
        assert row["bytes_floor_s"] > 0
        assert row["met"] is None  # what a CPU takes says nothing of a GPU's targets
        assert (row["speedup"] is None) == row["case"].startswith("torch.topk")


@needs_native
@pytest.mark.parametrize(("call", "said"), [(0, None), (2, "reference"), (3, "second run")])
def test_bytes_that_differ_are_an_error(monkeypatch, call, said):
    """Of three runs, the second on another back-end, one samples another step."""
    monkeypatch.syspath_prepend(BENCH)
    import gpu_cocktail

    device, numel = torch.device("cpu"), gpu_cocktail.whole_blocks(gpu_cocktail.SMALL)
    layout, calls = gpu_cocktail.symmetric(numel), []
    op = next(gpu_cocktail.ops_of(numel, layout, device))

    def changing(gradient, residual, how):
        calls.append(how)
        return op.ours(gradient, residual, how._replace(step=int(len(calls) == call)))

    found = gpu_cocktail.differing(op._replace(ours=changing), layout, "native", device)
    assert found is None if said is None else said in found
