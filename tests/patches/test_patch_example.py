"""The example in short: what was measured of patches holds, on a model that learned a few steps."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import ROOT

sys.path.append(str(ROOT / "examples" / "patch"))
import shakespeare
from shakespeare import run, texts

SHORT = ("lossless", "8 bits", "density 0.1", "rank 4")


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> dict[str, dict[str, dict[str, Any]]]:
    scratch = tmp_path_factory.mktemp("patch_example")
    base = shared_data / "checkpoints" / "stories260k"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(shakespeare, "BATCH", 2)
        patched.setattr(shakespeare, "TEST_WINDOWS", 2)
        found = run(base, *texts(shared_data, scratch), scratch, 4, 0, SHORT)
    return {case["case"]: {**case, "patches": {row["patch"]: row for row in case["patches"]}} for case in found}


def test_lossless_patches_are_lossless_and_sparse_ones_small(cases: dict[str, Any]) -> None:
    for case in cases.values():
        exact = case["patches"]["lossless"]
        assert exact["perplexity"] == case["perplexity_tuned"] != case["perplexity_base"]
        assert exact["lost_of_change"] is None
        assert exact["share"] < 1
    assert cases["one block, float32"]["patches"]["lossless"]["share"] < 0.3
    small, usual = (cases[f"{name}, bfloat16"]["patches"]["lossless"] for name in ("small steps", "all weights"))
    assert small["share"] < usual["share"]


def test_losses_are_told_and_ordered(cases: dict[str, Any]) -> None:
    rows = cases["all weights, float32"]["patches"]
    assert 0 < rows["8 bits"]["lost_of_change"] < rows["density 0.1"]["lost_of_change"] < 1
    assert all(rows[name]["share"] < rows["lossless"]["share"] for name in SHORT[1:])


def test_the_results_that_are_told_are_of_this_script() -> None:
    told = json.loads((ROOT / "examples" / "patch" / "results.json").read_text())
    assert [case["case"] for case in told["cases"]] == [
        f"{training}, {str(dtype).removeprefix('torch.')}" for training, dtype in shakespeare.CASES
    ]
    for case in told["cases"]:
        assert [row["patch"] for row in case["patches"]] == list(shakespeare.PATCHES)
    assert told["cases"][0]["patches"][0]["share"] < 0.3
