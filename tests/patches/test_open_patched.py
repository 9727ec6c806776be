"""A patch over its base, read like any checkpoint; and how it is told from one."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from compression import all_bits
from helpers import make_checkpoint
from patch_cases import normal, pair, tuned_copy

import fmcompress.patches
from fmcompress.checkpoint import Checkpoint
from fmcompress.checkpoint.layout import find_entry
from fmcompress.errors import CheckpointError, FmcompressError, PayloadError
from fmcompress.formats import open_checkpoint
from fmcompress.in_order import in_order
from fmcompress.patches import PatchOptions, apply_patch, compare_checkpoints, is_patch, make_patch, open_patched


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("open_patched")
    base = make_checkpoint(home / "base", hidden=64, dtype=torch.bfloat16, shards=2)
    tuned = tuned_copy(base, home / "tuned")
    (tuned / "config.json").write_text((tuned / "config.json").read_text().replace("2048", "4096"))
    make_patch(base, tuned, home / "patch")
    make_patch(base, tuned, home / "rounded", PatchOptions(bits=4))
    apply_patch(base, home / "rounded", home / "applied")
    return home


def test_tensors_are_those_of_the_tuned_checkpoint(home: Path) -> None:
    base, tuned = Checkpoint(home / "base"), Checkpoint(home / "tuned")
    patched = open_patched(home / "patch", base)
    assert {n: (e.dtype, e.shape) for n, e in patched.tensors.items()} == {
        n: (e.dtype, e.shape) for n, e in tuned.tensors.items()
    }
    assert all_bits(patched) == all_bits(tuned)
    assert patched.config == tuned.config != base.config
    assert patched.total_bytes < 0.5 * tuned.total_bytes
    assert all_bits(open_patched(home / "rounded", base)) == all_bits(Checkpoint(home / "applied"))
    assert patched.digest() != open_patched(home / "rounded", base).digest()
    assert not any(facts.patch_bytes for facts in compare_checkpoints(patched, tuned))
    with pytest.raises(CheckpointError, match="holds no tensor 'nowhere'"):
        patched.read("nowhere")


def test_nobody_takes_parts_for_a_tensor(home: Path) -> None:
    patched = open_patched(home / "patch", Checkpoint(home / "base"))
    assert {name for name in patched.tensors if find_entry(patched.tensors, f"{name}[0]")} == set()


def test_the_base_is_checked_when_a_tensor_is_read(home: Path) -> None:
    patched = open_patched(home / "patch", Checkpoint(home / "tuned"))
    kinds = {name: described.kind for name, described in patched.patch.tensors.items()}
    assert {"equal", "sparse", "dense"} == set(kinds.values())
    for name, kind in kinds.items():
        if kind == "equal":
            patched.read(name)
        else:
            with pytest.raises(CheckpointError, match=f"tensor '{name}' is not the one that the patch was made for"):
                patched.read(name)


def test_a_patch_is_no_checkpoint(home: Path) -> None:
    assert [is_patch(home / name) for name in ("patch", "base", "nowhere")] == [True, False, False]
    with pytest.raises(CheckpointError, match="holds neither"):
        open_checkpoint(home / "patch")
    with pytest.raises(CheckpointError, match="expected the folder of a patch"):
        open_patched(home / "base", Checkpoint(home / "base"))


def test_a_tensor_larger_than_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, tuned = pair(tmp_path, {"a": normal(2, 2)}, {"a": normal(2, 2), "zeros": torch.zeros(1 << 20)})
    make_patch(base, tuned, tmp_path / "patch")
    patched = open_patched(tmp_path / "patch", Checkpoint(base))
    assert patched.patch.stored_bytes("zeros") < 100
    monkeypatch.setattr("fmcompress.memory.available_bytes", lambda: 1 << 20)
    with pytest.raises(PayloadError, match="zeros: expected at most the 1048576 bytes of memory"):
        patched.read("zeros")


def test_importing_costs_no_torch() -> None:
    code = "import sys, fmcompress.patches as p; assert 'torch' not in sys.modules, 'torch'; print(sorted(p.__all__))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "open_patched" in done.stdout
    assert {"make_patch", "is_patch"} <= set(dir(fmcompress.patches))
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        _ = fmcompress.patches.other


def test_work_is_in_order_and_bounded() -> None:
    held, most = 0, 0

    def work(item: int) -> int:
        return item

    def size(item: int) -> int:
        return 1 << 25

    for expected, got in enumerate(in_order(work, list(range(20)), size)):
        held += 1
        most = max(most, held)
        assert got == expected
        held -= 1
    assert most == 1

    def failing(item: int) -> int:
        if item == 3:
            raise FmcompressError("three")
        return item

    with pytest.raises(FmcompressError, match="three"):
        list(in_order(failing, list(range(9)), lambda item: 1))


def test_a_full_disk_leaves_nothing(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(home / "base", tmp_path / "base")
    monkeypatch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    for write in (
        lambda: make_patch(tmp_path / "base", home / "tuned", tmp_path / "new"),
        lambda: apply_patch(tmp_path / "base", home / "patch", tmp_path / "new"),
    ):
        with pytest.raises(CheckpointError, match="the disk is full"):
            write()
    assert {path.name for path in tmp_path.iterdir()} == {"base"}


def test_memory_is_that_of_few_tensors(tmp_path: Path) -> None:
    """A checkpoint of 201 MB in tensors of 8 MB is patched in less than half of that above what an import takes."""
    before = {f"w{n:02}": normal(1024, 2048, seed=n % 3) for n in range(24)}
    after = {name: t + (torch.arange(2048) % 50 == 0) * 1e-4 for name, t in before.items()}
    base, tuned = pair(tmp_path, before, after)
    make_patch(base, tuned, tmp_path / "patch")
    code = (
        "import sys; from pathlib import Path; import fmcompress.patches.apply as a, fmcompress.memory as m;"
        "m.return_freed_memory(); before = m.peak_memory_bytes(); a.apply_patch(*map(Path, sys.argv[1:]));"
        "print(m.peak_memory_bytes() - before)"
    )
    paths = [str(tmp_path / name) for name in ("base", "patch", "out")]
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100e6, done.stdout
