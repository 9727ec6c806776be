"""A patch and its base give the tuned checkpoint back, file for file, also to a reader written from the specification."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from compression import all_bits, bare_checkpoint, run
from helpers import folder_bytes, make_checkpoint, write_raw
from patch_cases import normal, pair, some, tuned_copy, with_dtypes
from plain_patch_reader import patched

from fmcompress.checkpoint import Checkpoint
from fmcompress.checkpoint.layout import INDEX, SINGLE, read_header_text
from fmcompress.errors import CheckpointError
from fmcompress.formats import open_checkpoint
from fmcompress.formats.unpack import unpack_checkpoint
from fmcompress.patches import Patch, apply_patch, make_patch


def assert_restored(base: Path, tuned: Path, home: Path) -> Patch:
    """Make, apply, compare every byte; the plain reader must agree. Returns the patch."""
    make_patch(base, tuned, home / "patch")
    apply_patch(base, home / "patch", home / "out")
    assert folder_bytes(home / "out") == folder_bytes(tuned)
    assert not [path for path in home.iterdir() if "partial" in path.name]
    return Patch(home / "patch")


def assert_read_plainly(base: Path, tuned: Path, patch: Path) -> None:
    assert patched(base, patch) == {path.name: path.read_bytes() for path in tuned.glob("*.safetensors")}


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_tuned_model_comes_back_to_the_byte(tmp_path: Path, dtype: torch.dtype, shards: int) -> None:
    base = make_checkpoint(tmp_path / "base", hidden=64, dtype=dtype, shards=shards)
    tuned = tuned_copy(base, tmp_path / "tuned")
    (tuned / "README.md").write_text("# Tuned\n")
    patch = assert_restored(base, tuned, tmp_path)
    assert {d.kind for d in patch.tensors.values()} == {"equal", "sparse", "dense"}
    assert {name for name, file in patch.about.files.items() if file.stored} == {"README.md"}
    assert patch.total_bytes() < 0.5 * patch.tuned_bytes()
    assert_read_plainly(base, tuned, tmp_path / "patch")


def test_every_dtype_and_every_bit_survives(tmp_path: Path) -> None:
    base, tuned = pair(tmp_path, *with_dtypes())
    patch = assert_restored(base, tuned, tmp_path)
    kinds = {name: d.kind for name, d in patch.tensors.items()}
    assert (kinds["same"], kinds["empty"], kinds["torch.bfloat16"]) == ("equal", "equal", "sparse")
    assert kinds["torch.float64"] == "dense"  # wider than what a bitmask packs
    plain = {name: t for name, t in with_dtypes()[0].items() if "float8" not in name}
    again = {name: t for name, t in with_dtypes()[1].items() if "float8" not in name}
    (tmp_path / "plain").mkdir()
    base, tuned = pair(tmp_path / "plain", plain, again)
    make_patch(base, tuned, tmp_path / "plain" / "patch")
    assert_read_plainly(base, tuned, tmp_path / "plain" / "patch")


@pytest.mark.parametrize(
    ("share", "kind", "places"),
    [
        (0.0005, "sparse", "gaps"),
        (0.15, "sparse", "gaps"),
        (0.4, "sparse", "bitmask"),
        (0.9, "dense", None),
    ],
)
def test_the_form_follows_the_share_that_changed(tmp_path: Path, share: float, kind: str, places: str | None) -> None:
    """In tensors of more than one block, the last of which ends within a byte of the bitmask."""
    before = normal(521, 1009, dtype=torch.bfloat16)
    after = before.clone()
    after.view(torch.int16)[some(after, share)] += 1
    base, tuned = pair(tmp_path, {"w": before}, {"w": after})
    described = assert_restored(base, tuned, tmp_path).tensors["w"]
    assert (described.kind, described.places) == (kind, places)
    changed = int((before != after).sum())
    assert described.changed == (changed if kind == "sparse" else None)
    entropy = -(share * torch.log2(torch.tensor(share)) + (1 - share) * torch.log2(torch.tensor(1 - share)))
    stored = Patch(tmp_path / "patch").stored_bytes("w")
    least = (float(entropy) * before.numel() + changed) / 8  # where, and up or down
    assert stored < (1.1 if kind == "sparse" else 1.5) * least + 600  # a symbol of deflate has a bit at least


def test_tensors_come_go_and_change_shape_and_dtype(tmp_path: Path) -> None:
    before = {
        "gone": normal(8, 8), "grown": normal(8, 8, seed=1), "half": normal(64, 64, seed=2),
        "wide": normal(64, 64, seed=3).bfloat16(), "integer": torch.arange(64),
    }  # fmt: skip
    after = {
        "new": normal(300, 300, seed=4).bfloat16(), "grown": normal(9, 8, seed=5), "half": before["half"].bfloat16(),
        "wide": before["wide"].float() + normal(64, 64, seed=6, scale=1e-5), "integer": torch.arange(64).float(),
        "noise": torch.randint(0, 256, (999,), dtype=torch.uint8),
    }  # fmt: skip
    base, tuned = pair(tmp_path, before, after)
    patch = assert_restored(base, tuned, tmp_path)
    kinds = {name: (d.kind, d.base is not None) for name, d in patch.tensors.items()}
    assert kinds["half"] == ("equal", True)  # rounded to bfloat16, nothing else
    assert kinds["wide"] == ("dense", True)
    assert kinds["new"] == ("dense", False)  # exponents alone are worth deflating
    assert kinds["noise"] == ("raw", False)
    assert patch.about.removed == ["gone"]


def test_shards_may_be_cut_anew(tmp_path: Path) -> None:
    base = make_checkpoint(tmp_path / "base", shards=1)
    tuned = make_checkpoint(tmp_path / "tuned", shards=3)
    patch = assert_restored(base, tuned, tmp_path)
    assert {d.kind for d in patch.tensors.values()} == {"equal"}
    assert patch.about.files[INDEX].stored
    assert patch.total_bytes() < 0.1 * patch.tuned_bytes()


def test_odd_headers_and_companions_come_back(tmp_path: Path) -> None:
    base, tuned = pair(tmp_path, {"a": normal(8, 8)}, {"a": normal(8, 8) + 1, "b": normal(3, seed=1)})
    header = json.loads(read_header_text(tuned / SINGLE)[0])
    odd = b" \r\n" + json.dumps({"__metadata__": {"ü": "\u2028 \U0001f600"}, **header}, indent=3).encode() + b" " * 9
    data = (tuned / SINGLE).read_bytes()[8 + len(read_header_text(tuned / SINGLE)[0]) :]
    write_raw(tuned / SINGLE, odd, data)
    (tuned / "modules.json").write_text(json.dumps([{"path": "1_Pooling"}]))
    (tuned / "1_Pooling").mkdir()
    (tuned / "1_Pooling" / "config.json").write_text('{"mode": "mean"}')
    (tuned / "empty.txt").touch()
    assert_restored(base, tuned, tmp_path)


def test_what_is_no_part_of_a_checkpoint_is_named(tmp_path: Path) -> None:
    base, tuned = pair(tmp_path, {"a": normal(8, 8)}, {"a": normal(8, 8) + 1})
    (tuned / "optimizer.pt").write_bytes(b"state")
    facts = make_patch(base, tuned, tmp_path / "patch")
    assert facts["left_out"] == ["optimizer.pt"]


@pytest.mark.parametrize("form", ["packed", "compressed-tensors"])
def test_base_and_tuned_may_be_compressed(tmp_path: Path, form: str) -> None:
    dense = make_checkpoint(tmp_path / "dense", hidden=64, dtype=torch.bfloat16, shards=2)
    run(dense, tmp_path / "small", method="rtn", bits=4, group_size=32, format=form)
    unpack_checkpoint(tmp_path / "small", tmp_path / "unpacked")
    (tmp_path / "to").mkdir()
    make_patch(tmp_path / "small", tuned_copy(dense, tmp_path / "tuned"), tmp_path / "to" / "patch")
    apply_patch(tmp_path / "small", tmp_path / "to" / "patch", tmp_path / "to" / "out")
    assert folder_bytes(tmp_path / "to" / "out") == folder_bytes(tmp_path / "tuned")
    make_patch(dense, tmp_path / "small", tmp_path / "back")
    apply_patch(dense, tmp_path / "back", tmp_path / "again")
    assert folder_bytes(tmp_path / "again") == folder_bytes(tmp_path / "unpacked")
    assert all_bits(open_checkpoint(tmp_path / "small")) == all_bits(Checkpoint(tmp_path / "again"))


def test_equal_runs_write_equal_bytes(tmp_path: Path) -> None:
    base = make_checkpoint(tmp_path / "base", hidden=64)
    tuned = tuned_copy(base, tmp_path / "tuned")
    make_patch(base, tuned, tmp_path / "one")
    make_patch(base, tuned, tmp_path / "two")
    assert folder_bytes(tmp_path / "one") == folder_bytes(tmp_path / "two")


def test_real_checkpoints_come_back(tmp_path: Path, shared_data: Path) -> None:
    for name in ("stories260k", "babyllama105"):
        home = tmp_path / name
        home.mkdir()
        base = Path(shutil.copytree(shared_data / "checkpoints" / name, home / "base"))
        for path in base.iterdir():
            path.chmod(0o644)
        assert_restored(base, tuned_copy(base, home / "tuned", share=0.01), home)


def test_a_checkpoint_without_tensors_is_refused(tmp_path: Path) -> None:
    base, tuned = bare_checkpoint(tmp_path / "base", {"a": normal(3)}), bare_checkpoint(tmp_path / "tuned", {})
    with pytest.raises(CheckpointError, match="holds no tensors"):
        make_patch(base, tuned, tmp_path / "patch")
    assert not (tmp_path / "patch").exists()
