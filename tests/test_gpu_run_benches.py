"""The benches of Hessians and of a whole prune on a GPU, rehearsed on a CPU with tiny shapes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parents[1] / "bench"


def rehearsed(name: str, folder: Path, *options: str) -> list[dict[str, Any]]:
    """The rows of a bench."""
    command = [
        sys.executable,
        BENCH / f"{name}.py",
        "--device=cpu",
        "--small",
        "--json",
        folder / "rows.json",
        *options,
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads((folder / "rows.json").read_text())
    assert found["small"]
    return found["rows"]


def test_hessians(tmp_path: Path) -> None:
    rows = rehearsed("gpu_hessian", tmp_path)
    assert [row["rate"] for row in rows] == ["bfloat16", "float32"]
    for row in rows:
        facts = row["facts"]
        assert row["seconds"] > 0
        assert row["baseline_s"] > 0
        assert row["met"] is None  # what a CPU takes says nothing of a GPU's targets
        assert facts["largest_relative_error"] < 1e-5
        assert facts["share_of_rate_needed"] == pytest.approx(row["flops_floor_s"] / row["seconds"])
        assert facts["share_of_rate_needed"] < facts["share_of_rate_computed"] <= facts["share_of_rate_as_if_full"]


def test_a_whole_prune(tmp_path: Path) -> None:
    rows = rehearsed("gpu_prune", tmp_path, "--work", str(tmp_path))
    assert [row["case"].rsplit(", ")[-1] for row in rows] == ["50 %", "2:4"]
    for row in rows:
        facts = row["facts"]
        assert row["met"] is None
        assert 0 < row["bytes_floor_s"] < row["seconds"]
        assert 0 < row["flops_floor_s"] < row["seconds"]
        assert row["baseline_s"] is None  # the eager loop's seconds are an estimate, and stand in the facts
        assert facts["eager_solves_s_estimate"] == pytest.approx(2 * facts["eager_solves_s_a_block"])
        parts = sum(facts["phases_s"].values()) + facts["rest_s"] + facts["start_and_end_s"]
        assert parts == pytest.approx(row["seconds"])
        assert facts["rest_s"] >= 0
        assert facts["hessian_alone_s"] > 0
        assert facts["sparsity"] == 0.5
        assert {"check", "begin", "load", "calibrate", "solve", "write", "forward", "verify"} <= set(facts["phases_s"])
    assert [path.name for path in tmp_path.iterdir()] == ["rows.json"]  # the model and what was made of it are gone


def test_fewer_blocks_are_told_as_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCH)
    import gpu_prune

    found = {"seconds": 15.0, "last": {"at_s": 5.0}}
    assert gpu_prune.of_all_blocks(found, 8) == 10.0 + 4 * 5.0
    import gpu_targets

    assert gpu_prune.floors(gpu_prune.EIGHT_BILLION, 32, 0)["flops"] == gpu_targets.prune_flops()
    assert gpu_prune.EIGHT_BILLION.block_weights == 218_103_808  # of a Llama 3 of 8 billion
