"""Patches from strangers: whatever the bytes say, the tuned checkpoint comes back or one clear line, nothing else."""

import json
import shutil
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import ROOT, folder_bytes, write_raw
from hypothesis import given
from hypothesis import strategies as st
from patch_cases import normal, pair, some
from torch import Tensor

from fmcompress.checkpoint import Checkpoint
from fmcompress.checkpoint.layout import DTYPE_NAMES, SINGLE, read_header_text
from fmcompress.errors import CheckpointError, ConfigError, FmcompressError
from fmcompress.formats import packed
from fmcompress.patches import PatchOptions, apply_patch, make_patch
from fmcompress.patches.description import DIGEST_KEY, HEADER, TENSOR, digest
from fmcompress.patches.patch import FILE

sys.path.append(str(ROOT / "tests" / "formats"))
from hostile import JUNK, MANY

Texts, Parts = dict[str, str], dict[str, Tensor]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """base, tuned, patches of every kind, patch (lossless), rounded, low, and "true NAME", what they stand for."""
    home = tmp_path_factory.mktemp("hostile")
    before = {name: normal(24, 32, seed=n) for n, name in enumerate(("bits", "gaps", "all", "same"))}
    after = {
        "bits": torch.where(some(before["bits"], 0.5), before["bits"] * 1.5, before["bits"]),
        "gaps": torch.where(some(before["gaps"], 0.1), before["gaps"] * 1.5, before["gaps"]),
        "all": before["all"] + 1e-4, "same": before["same"], "new": torch.arange(5, dtype=torch.uint8),
    }  # fmt: skip
    base, tuned = pair(home, before, after)
    for folder in (base, tuned):
        (folder / "config.json").write_text("{}")
    (tuned / "README.md").write_text("# Tuned\n")
    make_patch(base, tuned, home / "patch")
    make_patch(base, tuned, home / "rounded", PatchOptions(bits=4, group_size=8))
    make_patch(base, tuned, home / "low", PatchOptions(rank=1))
    for name in ("patch", "rounded", "low"):
        apply_patch(base, home / name, home / f"true {name}")
    return home


def opened(folder: Path) -> tuple[Texts, Parts]:
    header = json.loads(read_header_text(folder / FILE)[0])
    texts = header.pop("__metadata__")
    data = (folder / FILE).read_bytes()[8 + len(read_header_text(folder / FILE)[0]) :]
    parts = {}
    for name, fields in header.items():
        begin, end = fields["data_offsets"]
        dtype = {known: dtype for dtype, known in DTYPE_NAMES.items()}[fields["dtype"]]
        raw = torch.frombuffer(bytearray(data[begin:end] or b"\0" * 8), dtype=torch.uint8)[: end - begin]
        parts[name] = raw.view(dtype).view(fields["shape"])
    return texts, parts


def written(folder: Path, texts: Texts, parts: Parts, signed: bool = True) -> Path:
    """A patch with these texts and parts, and a digest that fits them, as a stranger would write it."""
    header: dict[str, Any] = {"__metadata__": {**texts, DIGEST_KEY: digest(texts)} if signed else texts}
    data = b""
    for name, tensor in parts.items():
        part = tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        offsets = [len(data), len(data) + len(part)]
        header[name] = {"dtype": DTYPE_NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
        data += part
    write_raw(folder / FILE, header, data)
    return folder


def copied(home: Path, to: Path, name: str = "patch") -> Path:
    shutil.rmtree(to, ignore_errors=True)
    return Path(shutil.copytree(home / name, to))


def refused(home: Path, patch: Path, tmp_path: Path, name: str = "patch") -> str:
    """The one line that applying a patch ends in; nothing may be left behind. Empty if it gave what it should."""
    out = tmp_path / "out"
    try:
        apply_patch(home / "base", patch, out)
    except FmcompressError as error:
        assert not out.exists()
        assert not list(tmp_path.glob("out*"))
        assert "\n" not in str(error)
        assert len(str(error)) < 700
        return str(error)
    got = folder_bytes(out)
    shutil.rmtree(out)
    assert got == folder_bytes(home / f"true {name}")
    return ""


def test_every_damaged_byte_is_noticed(home: Path, tmp_path: Path) -> None:
    """Also in the metadata, which has a hash of its own, and in the parts."""
    data = (home / "patch" / FILE).read_bytes()
    patch = copied(home, tmp_path / "patch")
    draws = np.random.default_rng(0)
    for place in [*range(24), *draws.integers(0, len(data), 400).tolist()]:
        damaged = bytearray(data)
        damaged[place] ^= int(draws.integers(1, 256))
        (patch / FILE).write_bytes(damaged)
        assert refused(home, patch, tmp_path), f"byte {place}"


def test_a_cut_file_is_noticed(home: Path, tmp_path: Path) -> None:
    data = (home / "patch" / FILE).read_bytes()
    patch = copied(home, tmp_path / "patch")
    for length in [0, 1, 8, 9, 100, len(data) // 2, len(data) - 1]:
        (patch / FILE).write_bytes(data[:length])
        assert FILE in refused(home, patch, tmp_path)
    (patch / FILE).unlink()
    assert "expected the folder of a patch" in refused(home, patch, tmp_path)


@MANY
@given(data=st.data())
def test_no_description_breaks_anything(home: Path, tmp_path: Path, data: st.DataObject) -> None:
    """Fields of JSON replaced by junk, signed as if they were right: the true result or one line."""
    patch = copied(home, tmp_path / "patch", name := data.draw(st.sampled_from(["patch", "rounded", "low"])))
    texts, parts = opened(patch)
    texts.pop(DIGEST_KEY)
    key = data.draw(st.sampled_from(sorted(key for key in texts if "." in key.removeprefix("fmcompress."))))
    value = json.loads(texts[key])
    at, field = value, data.draw(st.sampled_from(sorted(value)))
    if isinstance(value[field], dict) and value[field] and data.draw(st.booleans()):
        at, field = value[field], data.draw(st.sampled_from(sorted(value[field])))
    at[field] = data.draw(JUNK | st.sampled_from([0, 1, 2, 31, 32, 1 << 40, "F16", "U8", "gaps", "bitmask", "raw"]))
    texts[key] = json.dumps(value)
    written(patch, texts, parts)
    if "header" not in key and "about" not in key:  # those may rename, and tell another loss, without being wrong
        refused(home, patch, tmp_path, name)
        return
    try:
        apply_patch(home / "base", patch, tmp_path / "out")
    except FmcompressError as error:
        assert "\n" not in str(error)
    assert {path.name for path in tmp_path.iterdir()} <= {"patch", "out"}
    shutil.rmtree(tmp_path / "out", ignore_errors=True)


@MANY
@given(data=st.data())
def test_no_part_breaks_anything(home: Path, tmp_path: Path, data: st.DataObject) -> None:
    """Bytes of a part changed, its checksum right: what is decoded is held against the result's hash."""
    patch = copied(home, tmp_path / "patch", kind := data.draw(st.sampled_from(["patch", "rounded", "low"])))
    texts, parts = opened(patch)
    texts.pop(DIGEST_KEY)
    name = data.draw(st.sampled_from(sorted(parts)))
    raw = bytearray(parts[name].contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, min(len(raw) - 1, 40)))] = data.draw(st.integers(0, 255))
    parts[name] = torch.frombuffer(raw, dtype=torch.uint8).view(parts[name].dtype).view(parts[name].shape)
    part, tensor = name.split(":", 1)
    described = json.loads(texts[TENSOR + tensor])
    sums = described["packed"]["crc32"] if part.startswith("packed.") else described["crc32"]
    sums[part.removeprefix("packed.")] = packed.checksum(parts[name])
    texts[TENSOR + tensor] = json.dumps(described)
    written(patch, texts, parts)
    refused(home, patch, tmp_path, kind)


def changed_tensor(name: str, **fields: Any) -> Callable[[Texts, Parts], None]:
    def change(texts: Texts, parts: Parts) -> None:
        texts[TENSOR + name] = json.dumps({**json.loads(texts[TENSOR + name]), **fields})

    return change


def bomb(texts: Texts, parts: Parts) -> None:
    """A tensor of 4 TiB that is made of nothing, in a header as long as it should be."""
    size, squeezed = 1 << 42, zlib.compress(bytes(1 << 18), 9)
    chunk = torch.frombuffer(bytearray(np.array([len(squeezed)], "<u4").tobytes() + squeezed), dtype=torch.uint8)
    header = json.loads(texts[HEADER + SINGLE])
    end = max(fields["data_offsets"][1] for name, fields in header.items() if name != "__metadata__")
    header["bomb"] = {"dtype": "U8", "shape": [size], "data_offsets": [end, end + size]}
    texts[HEADER + SINGLE] = json.dumps(header)
    fields = {"kind": "dense", "sha256": "0" * 64, "crc32": {"moves": packed.checksum(chunk)}}
    texts[TENSOR + "bomb"], parts["moves:bomb"] = json.dumps(fields), chunk


def renamed(to: str) -> Callable[[Texts, Parts], None]:
    def change(texts: Texts, parts: Parts) -> None:
        about = json.loads(texts["fmcompress.patch.about"])
        about["files"][to] = about["files"].pop("README.md")
        texts["fmcompress.patch.about"] = json.dumps(about)

    return change


STRANGE: dict[str, tuple[Callable[[Texts, Parts], None], str]] = {
    "version 2": (lambda texts, parts: texts.update({"fmcompress.patch": "2"}), "patch format version 2, known is 1"),
    "no version": (lambda texts, parts: texts.__delitem__("fmcompress.patch"), "patch format version None"),
    "bomb": (bomb, "bytes needed"),
    "a path outside": (renamed("../README.md"), "is no name for a file"),
    "an absolute path": (renamed("/tmp/README.md"), "is no name for a file"),
    "a shard's name": (renamed(SINGLE), "both a shard and none"),
    "a kind": (changed_tensor("all", kind="sparse"), "expected fields"),
    "another base": (changed_tensor("same", base={"dtype": "F32", "sha256": "0" * 64}), "tensor 'same' is not the one"),
    "another result": (changed_tensor("same", sha256="0" * 64), "the result's hash is not the one"),
    "a base of another dtype": (changed_tensor("same", base={"dtype": "I8", "sha256": "0" * 64}), "is made from a base"),
    "too many entries": (changed_tensor("gaps", changed=24 * 32 + 1), "moves 769 of 768 entries"),
    "a part too many": (lambda t, parts: parts.update({"left:all": torch.zeros(3)}), "missing or not described"),
    "a part too few": (lambda t, parts: parts.__delitem__("moves:all"), "missing or not described"),
    "a part's dtype": (lambda t, p: p.update({"raw:new": p["raw:new"].view(torch.int8)}), "expected U8 [5]"),
    "no tensor described": (lambda texts, parts: texts.__delitem__(TENSOR + "all"), "but not both"),
}  # fmt: skip


@pytest.mark.parametrize("case", STRANGE)
def test_what_contradicts_itself_is_refused(home: Path, tmp_path: Path, case: str) -> None:
    patch = copied(home, tmp_path / "patch")
    texts, parts = opened(patch)
    texts.pop(DIGEST_KEY)
    change, message = STRANGE[case]
    change(texts, parts)
    told = refused(home, written(patch, texts, parts), tmp_path)
    assert message in told


def test_another_base_is_named_by_its_first_tensor(home: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"BASE: .*tensor '\w+' is not the one that the patch was made for"):
        apply_patch(home / "tuned", home / "patch", tmp_path / "out")
    smaller = {name: Checkpoint(home / "base").read(name)[:, :7].clone() for name in ("bits", "gaps", "all", "same")}
    for name, message in (("all", r"'all': expected F32 \[24, 32\], got F32 \[24, 7\]"), (None, "got none")):
        (tmp_path / str(name)).mkdir()
        kept = {
            n: smaller[n] if n == name else Checkpoint(home / "base").read(n) for n in smaller if name or n != "same"
        }
        other = pair(tmp_path / str(name), kept, kept)[0]
        shutil.copyfile(home / "base" / "config.json", other / "config.json")
        with pytest.raises(CheckpointError, match=message):
            apply_patch(other, home / "patch", tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("where", ["base", "patch"])
def test_companions_are_held_against_their_hashes(home: Path, tmp_path: Path, where: str) -> None:
    base, patch = Path(shutil.copytree(home / "base", tmp_path / "base")), copied(home, tmp_path / "patch")
    path = base / "config.json" if where == "base" else patch / "files" / "README.md"
    path.write_text('{"other": 1}')
    with pytest.raises(CheckpointError, match=f"{where.upper()}: .*{path.name} is not the one"):
        apply_patch(base, patch, tmp_path / "out")
    path.unlink()
    with pytest.raises(CheckpointError, match=f"{path.name} is missing"):
        apply_patch(base, patch, tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


def test_what_is_in_the_way_stays(home: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("keep me")
    for write in (
        lambda: apply_patch(home / "base", home / "patch", tmp_path / "out"),
        lambda: make_patch(home / "base", home / "tuned", tmp_path / "out"),
    ):
        with pytest.raises(ConfigError, match=r"out exists\. Choose another name"):
            write()
    assert (tmp_path / "out" / "mine").read_text() == "keep me"
    with pytest.raises(ConfigError, match="is no folder"):
        make_patch(home / "base", home / "tuned", tmp_path / "no" / "where")
    with pytest.raises(ConfigError, match="a patch, expected a checkpoint"):
        make_patch(home / "patch", home / "tuned", tmp_path / "new")
