"""What changed between two checkpoints: kinds, shares, ranks, costs."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from compression import bare_checkpoint, run
from helpers import invoke, make_checkpoint
from patch_cases import normal, pair, some, tuned_copy

from fmcompress.checkpoint import Checkpoint
from fmcompress.formats import open_checkpoint
from fmcompress.patches import compare_checkpoints, make_patch
from fmcompress.patches.spectrum import factors, rank_at


def test_kinds_and_numbers(tmp_path: Path) -> None:
    base = {name: normal(64, 96, seed=n) for n, name in enumerate(("same", "few", "low", "all", "cast", "cut", "old"))}
    mask = some(base["few"], 0.05)
    after = {
        "same": base["same"], "few": torch.where(mask, base["few"] * 2, base["few"]),
        "low": base["low"] + normal(64, 2) @ normal(2, 96), "all": base["all"] + normal(64, 96, seed=9, scale=1e-4),
        "cast": base["cast"].half(), "cut": base["cut"][:5].clone(), "new": normal(7),
    }  # fmt: skip
    facts = {f.name: f for f in compare_checkpoints(*map(Checkpoint, pair(tmp_path, base, after)))}
    assert {name: fact.kind for name, fact in facts.items()} == {
        "same": "equal", "few": "sparse", "low": "low-rank", "all": "dense", "cast": "dtype", "cut": "shape",
        "new": "only in B", "old": "only in A",
    }  # fmt: skip
    assert facts["few"].changed == pytest.approx(int(mask.sum()) / mask.numel())
    for name in ("few", "low", "all"):
        a, b = base[name].double(), after[name].double()
        assert facts[name].relative == pytest.approx(float((b - a).norm() / a.norm()), rel=1e-9)
    assert (facts["low"].rank, facts["same"].patch_bytes, facts["cut"].was) == (2, 0, "F32 [64, 96]")
    assert facts["low"].energy == pytest.approx(1)
    assert facts["all"].rank is not None
    assert facts["all"].rank > 30
    made = make_patch(tmp_path / "base", tmp_path / "tuned", tmp_path / "patch")
    stored = sum(kind["stored_bytes"] for kind in made["kinds"].values())
    assert sum(fact.patch_bytes for fact in facts.values()) == stored


def energies(matrix: torch.Tensor) -> np.ndarray:
    squares = np.linalg.svd(matrix.double().numpy(), compute_uv=False) ** 2
    return np.cumsum(squares) / squares.sum()


@pytest.mark.parametrize("shape", [(40, 900), (900, 40), (700, 800)])
@pytest.mark.parametrize("rank", [1, 7, 30])
def test_ranks_are_never_too_small_and_exact_where_small(shape: tuple[int, int], rank: int) -> None:
    matrix = normal(shape[0], rank, scale=1.0) @ normal(rank, shape[1], seed=1, scale=1.0) + normal(*shape, seed=2)
    for energy in (0.5, 0.9, 0.99):
        truth = int((energies(matrix) >= energy).argmax()) + 1
        found, share = rank_at(matrix, energy)
        assert found is not None
        assert share >= energy
        assert found == truth if min(shape) <= 512 else truth <= found <= truth + 1
    noise = normal(700, 800)
    found, share = rank_at(noise, 0.99)
    assert found is None
    assert share <= energies(noise)[63] + 1e-6  # what 64 directions were found to hold is there at least
    assert share > 0.8 * energies(noise)[63]
    assert rank_at(torch.zeros(3, 4), 0.99) == (0, 1.0)
    assert rank_at(torch.eye(4), 1.0) == (4, 1.0)


@pytest.mark.parametrize("shape", [(60, 90), (700, 600)])
def test_factors_are_near_the_best(shape: tuple[int, int]) -> None:
    matrix = normal(shape[0], 20, scale=1.0) @ normal(20, shape[1], seed=1, scale=1.0) + normal(*shape, seed=2)
    left, right = factors(matrix, 10)
    assert (left.shape, right.shape) == ((shape[0], 10), (10, shape[1]))
    lost = float((matrix - left @ right).square().sum() / matrix.square().sum())
    assert lost < 1.02 * (1 - energies(matrix)[9]) + 1e-6


def test_packed_and_quantized_checkpoints_are_read(tmp_path: Path) -> None:
    dense = make_checkpoint(tmp_path / "dense", hidden=64, blocks=1, dtype=torch.bfloat16)
    for form in ("packed", "compressed-tensors"):
        run(dense, tmp_path / form, method="rtn", bits=4, group_size=32, format=form)
    a, b = (open_checkpoint(tmp_path / form) for form in ("packed", "compressed-tensors"))
    assert {fact.kind for fact in compare_checkpoints(a, b)} == {"equal"}
    assert {fact.kind for fact in compare_checkpoints(Checkpoint(dense), a)} == {"equal", "dense"}


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = make_checkpoint(tmp_path / "base", hidden=32, blocks=1)
    tuned = tuned_copy(base, tmp_path / "tuned")
    done = invoke(capsys, "diff", base, tuned)
    assert done.code == 0
    assert "equal" in done.stdout
    assert "a lossless patch:" in done.stdout
    same = {fact.name for fact in compare_checkpoints(Checkpoint(base), Checkpoint(tuned)) if fact.kind == "equal"}
    assert same
    assert not any(f" {name} " in done.stdout for name in same)  # counted, not listed
    facts = json.loads(invoke(capsys, "diff", base, tuned, "--json", "--top", 2).stdout)
    assert len(facts["tensors"]) == 2
    assert facts["tensors"][0]["relative"] >= facts["tensors"][1]["relative"] > 0
    assert sum(facts["totals"]["kinds"].values()) == len(Checkpoint(base).tensors)
    for wrong, message in ((["--energy", 0], "energy: expected a share"), ([], "no such folder")):
        done = invoke(capsys, "diff", base, tuned if wrong else tmp_path / "nowhere", *wrong)
        assert (done.code, message in done.stderr) == (2, True)


def test_numbers_that_are_not_finite_have_no_relative_change(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    after = normal(4, 4)
    after[0, 0] = float("nan")
    base, tuned = bare_checkpoint(tmp_path / "a", {"w": normal(4, 4)}), bare_checkpoint(tmp_path / "b", {"w": after})
    assert json.loads(invoke(capsys, "diff", base, tuned, "--json").stdout)["tensors"][0]["relative"] is None
