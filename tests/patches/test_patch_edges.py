"""Patches and diffs of what is rare: bools that are neither 0 nor 1, tiny changes of float64, casts, signs of zeros."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from compression import bare_checkpoint
from helpers import folder_bytes, write_raw
from patch_cases import normal, pair, some

from fmcompress.checkpoint import Checkpoint
from fmcompress.checkpoint.layout import SINGLE, read_header_text
from fmcompress.errors import PayloadError
from fmcompress.patches import (
    ChangeFacts,
    Patch,
    PatchOptions,
    apply_patch,
    compare_checkpoints,
    lossless,
    make_patch,
    open_patched,
)
from fmcompress.patches.codec import encode
from fmcompress.patches.description import ABOUT_KEY, DIGEST_KEY, digest
from fmcompress.patches.lossy import largest_only
from fmcompress.patches.numbers import pieces, sum_of_squares
from fmcompress.patches.patch import FILE
from fmcompress.patches.streams import BLOCK, write_stream


def compared(home: Path, before: torch.Tensor, after: torch.Tensor) -> ChangeFacts:
    return compare_checkpoints(*map(Checkpoint, pair(home, {"w": before}, {"w": after})))[0]


def test_bools_of_any_byte_come_back(tmp_path: Path) -> None:
    """The format asks for none of them, but a file may have them, and torch's own copy makes 1 of 2."""
    base, tuned = pair(tmp_path, {"w": torch.zeros(9, 40, dtype=torch.uint8)}, {"w": torch.zeros(9, 40)})
    for folder, first in ((base, 2), (tuned, 3)):
        data = np.full(360, 2, np.uint8)
        data[:50] = first
        header = {"w": {"dtype": "BOOL", "shape": [9, 40], "data_offsets": [0, 360]}}
        write_raw(folder / SINGLE, header, data.tobytes())
    make_patch(base, tuned, tmp_path / "patch")
    apply_patch(base, tmp_path / "patch", tmp_path / "out")
    assert folder_bytes(tmp_path / "out") == folder_bytes(tuned)
    assert Patch(tmp_path / "patch").tensors["w"].kind == "sparse"


@pytest.mark.parametrize("options", [PatchOptions(), PatchOptions(density=0.1)])
def test_a_base_is_left_as_it_is(tmp_path: Path, options: PatchOptions) -> None:
    before = normal(40, 60)
    base, tuned = (Checkpoint(folder) for folder in pair(tmp_path, {"w": before}, {"w": before * 1.1}))
    read = base.read("w")
    encode(tuned.entry("w"), read, tuned.read("w"), options)
    assert torch.equal(read, before)


def test_a_change_that_float32_cannot_tell_has_its_true_rank(tmp_path: Path) -> None:
    before = normal(40, 60).double()
    fact = compared(tmp_path, before, before + 1e-12 * normal(40, 60, seed=1).double())
    squares = np.linalg.svd((Checkpoint(tmp_path / "tuned").read("w") - before).numpy(), compute_uv=False) ** 2
    assert fact.kind == "dense"
    assert fact.rank == int((squares.cumsum() / squares.sum() >= 0.99).argmax()) + 1 > 20


def test_other_signs_of_zeros_are_no_change_of_low_rank(tmp_path: Path) -> None:
    fact = compared(tmp_path, torch.zeros(40, 60), -torch.zeros(40, 60))
    assert (fact.kind, fact.changed, fact.relative, fact.rank) == ("dense", 1.0, 0.0, 0)


@pytest.mark.parametrize("step", [0.0, 1e-2])
def test_what_a_cast_changes_is_told(tmp_path: Path, step: float) -> None:
    before = normal(40, 60)
    after = (before + step * normal(40, 60, seed=1, scale=1.0)).bfloat16()
    fact = compared(tmp_path, before, after)
    truth = float((after.double() - before.double()).norm() / before.double().norm())
    assert (fact.kind, fact.changed == 0) == ("dtype", step == 0)
    assert fact.relative == pytest.approx(truth, rel=1e-12)
    assert truth > 1e-3


def test_a_tensor_that_was_zero_has_no_relative_change(tmp_path: Path) -> None:
    assert compared(tmp_path, torch.zeros(4, 4), normal(4, 4)).relative is None


def test_of_equal_changes_the_first_are_kept() -> None:
    change = torch.tensor([[1.0, -2.0, 2.0, -2.0, 3.0, 2.0]])
    assert largest_only(change, 0.5).tolist() == [[0.0, -2.0, 2.0, 0.0, 3.0, 0.0]]
    assert largest_only(change, 1.0).tolist() == change.tolist()
    assert not largest_only(torch.zeros(2, 3), 0.5).any()


def test_sums_of_squares_are_the_same_with_any_number_of_threads() -> None:
    """What a patch tells of its loss is part of its bytes."""
    code = (
        "import sys, torch; torch.set_num_threads(int(sys.argv[1]));"
        "from fmcompress.patches.numbers import pieces, sum_of_squares as s;"
        "t = torch.randn(1 << 20, generator=torch.Generator().manual_seed(0));"
        "print([s(each).hex() for (each,) in pieces(t)])"
    )
    told = [subprocess.run([sys.executable, "-c", code, n], capture_output=True, check=True).stdout for n in "12"]
    assert told[0] == told[1]
    tensor = normal(300, 301, scale=1.0)
    total = sum(sum_of_squares(piece) for (piece,) in pieces(tensor))
    assert total == pytest.approx(float((tensor.double().numpy() ** 2).sum()), rel=1e-13)


def test_folders_that_are_left_out_are_named(tmp_path: Path) -> None:
    base, tuned = pair(tmp_path, {"w": normal(4, 4)}, {"w": normal(4, 4) + 1})
    (tuned / "original").mkdir()
    (tuned / ".cache").mkdir()
    facts = make_patch(base, tuned, tuned / "patch")
    assert facts["left_out"] == [".cache/", "original/"]


def test_digests_tell_configs_apart(tmp_path: Path) -> None:
    base = bare_checkpoint(tmp_path / "base", {"w": normal(4, 4)})
    told = set()
    for number, config in enumerate(("{}", '{"rope_theta": 1}')):
        tuned = Path(shutil.copytree(base, tmp_path / f"tuned{number}"))
        (tuned / "config.json").write_text(config)
        make_patch(base, tuned, tmp_path / f"patch{number}")
        told.add(open_patched(tmp_path / f"patch{number}", Checkpoint(base)).digest())
    assert len(told) == 2


@pytest.mark.parametrize("name", [".git", ".git/config", "pytorch_model.bin", "other.safetensors", "model.pt"])
def test_a_patch_brings_nothing_that_make_leaves_out(tmp_path: Path, name: str) -> None:
    base, tuned = pair(tmp_path, {"w": normal(4, 4)}, {"w": normal(4, 4) + 1})
    make_patch(base, tuned, tmp_path / "patch")
    file = tmp_path / "patch" / FILE
    text = read_header_text(file)[0]
    header, data = json.loads(text), file.read_bytes()[8 + len(text) :]
    texts = header["__metadata__"]
    about = json.loads(texts[ABOUT_KEY])
    about["files"][name] = {"sha256": hashlib.sha256(b"x").hexdigest(), "stored": True}
    texts[ABOUT_KEY] = json.dumps(about)
    texts[DIGEST_KEY] = digest(texts)
    write_raw(file, header, data)
    (tmp_path / "patch" / "files" / name).parent.mkdir(parents=True)
    (tmp_path / "patch" / "files" / name).write_bytes(b"x")
    with pytest.raises(PayloadError, match="is no name for a file of a checkpoint"):
        apply_patch(base, tmp_path / "patch", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7, 0.9])
def test_the_form_of_a_few_blocks_is_that_of_all(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    """Of a large tensor both forms are tried on a sample: what is taken is hardly larger than the better one."""
    monkeypatch.setattr(lossless, "SAMPLED", 2)
    before = normal(4 * BLOCK + 5, dtype=torch.bfloat16)
    after = before.clone()
    after.view(torch.int16)[some(after, share)] += 1
    tried = []
    monkeypatch.setattr(lossless, "_form", lambda *given, form=lossless._form: tried.append(given[:2]) or form(*given))
    parts = lossless.encode(before, after)[1]
    assert tried[:2] == [("sparse", 2 * BLOCK), ("dense", 2 * BLOCK)]
    assert {count for _, count in tried[2:]} == {len(before)}
    assert len(tried) == (3 if share in (0.3, 0.9) else 4)  # between them neither is clearly smaller
    monkeypatch.setattr(lossless, "SAMPLED", 1 << 40)
    assert lossless.size_of(parts) <= 1.01 * lossless.size_of(lossless.encode(before, after)[1])


def stream(numbers: list[int], width: int) -> torch.Tensor:
    array = np.array(numbers, f"<u{width}")
    return torch.frombuffer(bytearray(write_stream(len(array), lambda begin, end: array[begin:end])), dtype=torch.uint8)


@pytest.mark.parametrize(
    ("told", "numbers", "width", "moves", "message"),
    [
        ("gaps", [0, 4], 4, 2, "after the last one"),
        ("gaps", [(1 << 32) - 1] * 2, 4, 2, "after the last one"),
        ("bitmask", [0b1], 1, 2, "counts 1 entries, got 2"),
        ("bitmask", [0b111], 1, 2, "counts 3 values"),
        ("bitmask", [0b100011], 1, 2, "no bit after the last"),
    ],
)
def test_places_that_do_not_fit_are_refused(
    told: str, numbers: list[int], width: int, moves: int, message: str
) -> None:
    parts = {told: stream(numbers, width), "moves": stream([2] * moves, 4)}
    with pytest.raises(ValueError, match=message):
        lossless.decode_sparse(parts, told, moves, torch.zeros(5))
