"""What a lossy patch loses is what it says, it is smaller, and the same bits come back everywhere."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from patch_cases import normal, pair

from fmcompress.checkpoint import Checkpoint
from fmcompress.errors import ConfigError
from fmcompress.formats import packed
from fmcompress.options import resolve
from fmcompress.patches import Patch, PatchOptions, apply_patch, make_patch
from fmcompress.patches.lossy import added, change_of, encode_rounded, largest_only, product

OPTIONS: dict[str, dict[str, Any]] = {
    "8 bits": {"bits": 8}, "4 bits": {"bits": 4}, "2 bits a row": {"bits": 2, "group_size": "row"},
    "tenth": {"density": 0.1}, "tenth and 4 bits": {"density": 0.1, "bits": 4}, "rank 8": {"rank": 8},
    "rank 8 in float32": {"rank": 8, "factors": "F32"},
}  # fmt: skip
AT_MOST = {  # of the change, lost: a Gaussian's, with some room
    "8 bits": 0.01, "4 bits": 0.12, "2 bits a row": 0.7, "tenth": 0.8, "tenth and 4 bits": 0.8, "rank 8": 0.95,
    "rank 8 in float32": 0.95,
}  # fmt: skip


def numbers(folder: Path, name: str = "w") -> np.ndarray:
    return Checkpoint(folder).read(name).double().numpy()


def changed(home: Path, dtype: torch.dtype = torch.float32) -> tuple[Path, Path]:
    before = {"w": normal(96, 256, dtype=dtype), "norm": normal(256, seed=1, dtype=dtype), "id": torch.arange(9)}
    after = {"w": (before["w"].float() + normal(96, 256, seed=2, scale=2e-3)).to(dtype)}
    after["norm"], after["id"] = (before["norm"].float() * 1.01).to(dtype), torch.arange(9) + 1
    return pair(home, before, after)


@pytest.mark.parametrize("case", OPTIONS)
def test_what_is_lost_is_told(tmp_path: Path, case: str) -> None:
    base, tuned = changed(tmp_path)
    facts = make_patch(base, tuned, tmp_path / "patch", PatchOptions(**OPTIONS[case]))
    apply_patch(base, tmp_path / "patch", tmp_path / "out")
    exact = make_patch(base, tuned, tmp_path / "exact")
    assert facts["patch_bytes"] < exact["patch_bytes"]
    got, aim, start = (numbers(folder) for folder in (tmp_path / "out", tuned, base))
    lost, change = np.linalg.norm(got - aim), np.linalg.norm(aim - start)
    described = Patch(tmp_path / "patch").tensors["w"]
    assert described.loss is not None
    assert described.loss.change == pytest.approx(lost / change, rel=1e-9)
    assert described.loss.weights == pytest.approx(lost / np.linalg.norm(aim), rel=1e-9)
    assert 0 < described.loss.change < AT_MOST[case]
    for name in ("norm", "id"):  # no matrix, no floats
        assert (numbers(tmp_path / "out", name) == numbers(tuned, name)).all()
    whole = [np.linalg.norm(numbers(tuned, n) - numbers(base, n)) ** 2 for n in ("w", "norm")]
    assert facts["loss"]["change"] == pytest.approx(lost / sum(whole) ** 0.5, rel=1e-9)
    aims = [np.linalg.norm(numbers(tuned, n)) ** 2 for n in ("w", "norm")]
    assert facts["loss"]["weights"] == pytest.approx(lost / sum(aims) ** 0.5, rel=1e-9)


def test_density_keeps_the_largest_changes_to_the_bit(tmp_path: Path) -> None:
    base, tuned = changed(tmp_path)
    make_patch(base, tuned, tmp_path / "patch", PatchOptions(density=0.05))
    apply_patch(base, tmp_path / "patch", tmp_path / "out")
    got, aim, start = (numbers(folder) for folder in (tmp_path / "out", tuned, base))
    kept = got != start
    assert kept.sum() == int(0.05 * got.size)
    assert (got[kept] == aim[kept]).all()
    assert np.abs(aim - start)[kept].min() >= np.abs(aim - start)[~kept].max()


def test_a_change_of_low_rank_is_caught(tmp_path: Path) -> None:
    before, update = normal(200, 300), normal(200, 3, seed=1) @ normal(3, 300, seed=2)
    base, tuned = pair(tmp_path, {"w": before}, {"w": before + update})
    for factors, least in (("BF16", 0.01), ("F32", 1e-4)):
        facts = make_patch(base, tuned, tmp_path / factors, PatchOptions(rank=3, factors=factors))
        assert facts["kinds"]["low-rank"]["tensors"] == 1
        assert facts["loss"]["change"] < least


@settings(derandomize=True, deadline=None, max_examples=30, database=None)
@given(st.integers(1, 40), st.integers(1, 60), st.integers(1, 9), st.integers(0, 99))
def test_products_are_sums_in_one_order(rows: int, cols: int, rank: int, seed: int) -> None:
    left, right = normal(rows, rank, seed=seed, scale=1.0), normal(rank, cols, seed=seed + 1, scale=1e-5)
    truth = np.zeros((rows, cols))
    for k in range(rank):
        truth += left[:, k : k + 1].double().numpy() * right[k : k + 1].double().numpy()
    assert (product(left, right).numpy() == truth.astype(np.float32)).all()


def test_products_do_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = normal(77, 5), normal(5, 33, seed=1)
    whole = product(left, right)
    monkeypatch.setattr("fmcompress.patches.lossy.ROW_ENTRIES", 70)
    assert torch.equal(product(left, right), whole)


def test_the_lossy_form_is_taken_only_where_it_is_smaller(tmp_path: Path) -> None:
    """One step of bfloat16 for a few entries costs less than 4 bits for each."""
    before = normal(64, 256, dtype=torch.bfloat16)
    after = before.clone()
    after.view(torch.int16)[::9, ::9] += 1
    base, tuned = pair(tmp_path, {"w": before}, {"w": after})
    facts = make_patch(base, tuned, tmp_path / "patch", PatchOptions(bits=4))
    assert (facts["loss"], set(facts["kinds"])) == (None, {"sparse"})


def test_what_is_not_finite_loses_nothing(tmp_path: Path) -> None:
    """Nor what a rounded change would push out of float16."""
    before = normal(64, 64)
    after = before + normal(64, 64, seed=1, scale=1e-3)
    after[3, 3] = float("nan")
    edge = torch.full((64, 64), 65504.0, dtype=torch.float16)
    moved = edge.clone()
    moved[::2] = torch.linspace(0, 60000, 32 * 64).view(32, 64).half()
    base, tuned = pair(tmp_path, {"nan": before, "edge": edge}, {"nan": after, "edge": moved})
    make_patch(base, tuned, tmp_path / "patch", PatchOptions(bits=2, group_size="row"))
    apply_patch(base, tmp_path / "patch", tmp_path / "out")
    assert torch.equal(Checkpoint(tmp_path / "out").read("nan").nan_to_num(), after.nan_to_num())
    assert bool(torch.isfinite(Checkpoint(tmp_path / "out").read("edge")).all())


def test_a_sum_that_leaves_float16_is_not_taken(tmp_path: Path) -> None:
    before = torch.full((64, 64), 40000.0, dtype=torch.float16)
    after = normal(64, 64, scale=20000.0).clamp(-65504, 65504).half()
    rounded = encode_rounded(change_of(before, after), options := PatchOptions(bits=2, group_size="row"))
    matrix = packed.decode("w", rounded[2]["packed"], lambda part: rounded[1][f"packed.{part}"])
    assert not bool(torch.isfinite(added(before, matrix)).all())
    base, tuned = pair(tmp_path, {"w": before}, {"w": after})
    facts = make_patch(base, tuned, tmp_path / "patch", options)
    assert (facts["loss"], set(facts["kinds"])) == (None, {"dense"})


def test_at_least_one_entry_is_kept() -> None:
    assert largest_only(torch.tensor([[1.0, -3.0, 2.0]]), 1e-9).tolist() == [[0.0, -3.0, 0.0]]


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "bits": ({"bits": 5}, r"^bits: expected 2, 3, 4 or 8, got 5\.$"),
    "density": ({"density": 0.0}, "^density: expected greater than 0"),
    "rank": ({"rank": 0}, "^rank: expected greater than or equal to 1"),
    "both": ({"rank": 1, "bits": 4}, "^rank: expected alone"),
    "factors": ({"factors": "F32"}, "^factors: expected with a rank"),
    "group": ({"group_size": 64}, "^group-size: is of rounded changes"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_options_are_told_in_a_line(case: str) -> None:
    options, message = BAD[case]
    with pytest.raises(ConfigError, match=message) as caught:
        resolve(PatchOptions, None, **options)
    assert "\n" not in str(caught.value)


def test_rounding_is_left_out_where_the_few_bits_that_change_cost_less(tmp_path: Path) -> None:
    base, tuned = changed(tmp_path, torch.bfloat16)
    sizes = {}
    for bits in (None, 8):
        facts = make_patch(base, tuned, tmp_path / f"{bits}", PatchOptions(density=0.1, bits=bits))
        sizes[bits] = facts["kinds"]["sparse"]["stored_bytes"] + facts["kinds"].get("quantized", {}).get(
            "stored_bytes", 0
        )
    assert sizes[8] <= sizes[None]
