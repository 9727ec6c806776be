"""Reading single tensors, overwriting them in place, copying, verifying, and the facts that `inspect` prints."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from helpers import folder_bytes, make_checkpoint
from safetensors.torch import load_file, save_file

from fmcompress.checkpoint import (
    Checkpoint,
    CheckpointWriter,
    companion_files,
    copy_checkpoint,
    obeys,
    row_pieces,
    tensor_facts,
    verify_checkpoint,
)
from fmcompress.checkpoint.layout import SINGLE
from fmcompress.errors import CheckpointError

NAME = "model.layers.1.mlp.down_proj.weight"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("rw") / "model", blocks=3, shards=3, dtype=torch.bfloat16)


@pytest.fixture
def model(source: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(source, tmp_path / "model"))


def test_reads_what_safetensors_reads(source: Path) -> None:
    checkpoint = Checkpoint(source)
    theirs = {name: tensor for shard in checkpoint.shards for name, tensor in load_file(shard).items()}
    assert theirs.keys() == checkpoint.tensors.keys()
    for name, tensor in theirs.items():
        assert checkpoint.read(name).dtype == tensor.dtype
        assert checkpoint.read(name).equal(tensor)


def test_read_gives_memory_of_its_own(model: Path) -> None:
    checkpoint = Checkpoint(model)
    checkpoint.read(NAME).zero_()
    assert checkpoint.read(NAME).count_nonzero()


def test_read_refuses(model: Path) -> None:
    checkpoint = Checkpoint(model)
    with pytest.raises(CheckpointError, match="holds no tensor 'nothing'"):
        checkpoint.read("nothing")
    entry = max(
        checkpoint.tensors.values(), key=lambda entry: (entry.path == checkpoint.tensors[NAME].path, entry.offset)
    )
    entry.path.write_bytes(entry.path.read_bytes()[:-1])  # cut short after the layout was read
    with pytest.raises(CheckpointError, match=f"{entry.path.name}: ends inside tensor"):
        checkpoint.read(entry.name)


@pytest.mark.parametrize("text", [None, "", "{", "[]", "\x80"])
def test_broken_config(model: Path, text: str | None) -> None:
    (model / "config.json").unlink()
    if text is not None:
        (model / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(CheckpointError, match=r"config\.json"):
        _ = Checkpoint(model).config


def test_digest_tells_checkpoints_apart(model: Path) -> None:
    before = Checkpoint(model).digest()
    assert Checkpoint(model).digest() == before
    CheckpointWriter(model).write(NAME, Checkpoint(model).read(NAME) + 1)
    changed = Checkpoint(model).digest()
    assert changed != before
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 0.5}))
    assert Checkpoint(model).digest() not in (before, changed)


def test_writer_changes_one_tensor_and_no_other_byte(source: Path, model: Path) -> None:
    checkpoint = Checkpoint(source)
    value = torch.randn(checkpoint.tensors[NAME].shape).bfloat16()
    writer = CheckpointWriter(model)
    writer.write(NAME, value.T.contiguous().T)  # strided
    writer.flush()
    assert Checkpoint(model).read(NAME).equal(value)
    before, after = folder_bytes(source), folder_bytes(model)
    entry = checkpoint.tensors[NAME]
    end = entry.offset + entry.size_bytes
    for name in before:
        if name == entry.path.name:
            assert after[name][entry.offset : end] == value.view(torch.uint8).numpy().tobytes()
            assert after[name][: entry.offset] + after[name][end:] == before[name][: entry.offset] + before[name][end:]
        else:
            assert after[name] == before[name]
    assert load_file(entry.path.name and model / entry.path.name)[NAME].equal(value)


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.float16, torch.int8, torch.bool, torch.float8_e4m3fn]
)
def test_writer_in_every_dtype(tmp_path: Path, dtype: torch.dtype) -> None:
    save_file(
        {"a": torch.zeros(3, 5).to(dtype), "b": torch.ones(7).to(dtype), "e": torch.ones(0).to(dtype)},
        tmp_path / SINGLE,
    )
    value = torch.ones(3, 5).to(dtype)
    writer = CheckpointWriter(tmp_path)
    writer.write("a", value)
    writer.write("e", torch.ones(0).to(dtype))
    writer.flush()
    read = load_file(tmp_path / SINGLE)
    assert read["a"].float().equal(value.float())
    assert read["b"].float().equal(torch.ones(7))


def test_writer_refuses_another_shape_or_dtype(source: Path, model: Path) -> None:
    value = Checkpoint(model).read(NAME)
    for wrong in (value.float(), value.T, value[:1]):
        with pytest.raises(CheckpointError, match=NAME):
            CheckpointWriter(model).write(NAME, wrong)
    assert folder_bytes(model) == folder_bytes(source)


def test_writer_reports_a_full_disk(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = CheckpointWriter(model)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(CheckpointError, match="the disk is full"):
        writer.write(NAME, torch.zeros(writer.tensors[NAME].shape, dtype=torch.bfloat16))


def test_copy_leaves_other_weights_and_hidden_files_out(model: Path, tmp_path: Path) -> None:
    for name in ("pytorch_model.bin", "model.gguf", "extra.safetensors", ".hidden", "LICENSE"):
        (model / name).write_text("x")
    (model / "folder").mkdir()
    checkpoint = Checkpoint(model)
    copy_checkpoint(checkpoint, tmp_path / "copy")
    copied = folder_bytes(tmp_path / "copy")
    assert copied == {name: data for name, data in folder_bytes(model).items() if name in copied}
    assert set(copied) == {path.name for path in [*checkpoint.shards, *companion_files(checkpoint)]}
    assert "LICENSE" in copied
    assert "config.json" in copied
    assert not copied.keys() & {"pytorch_model.bin", "model.gguf", "extra.safetensors", ".hidden"}


def test_copy_follows_links(model: Path, tmp_path: Path) -> None:
    """The hub's cache holds links."""
    linked = tmp_path / "linked"
    linked.mkdir()
    for path in model.iterdir():
        (linked / path.name).symlink_to(path)
    copy_checkpoint(Checkpoint(linked), tmp_path / "copy")
    assert folder_bytes(tmp_path / "copy") == folder_bytes(model)
    assert not any(path.is_symlink() for path in (tmp_path / "copy").iterdir())


def test_verify_sees_what_is_wrong(source: Path, model: Path) -> None:
    checkpoint, writer = Checkpoint(source), CheckpointWriter(model)
    value = checkpoint.read(NAME)
    value[:, 2:] = 0
    writer.write(NAME, value)
    zeros = int((value == 0).sum())
    record = {"tensor": NAME, "zeros": zeros, "keep": 2, "group": value.shape[1]}
    verify_checkpoint(checkpoint, Checkpoint(model), [record], in_place=True)
    assert Checkpoint(model).read(NAME).equal(value)
    with pytest.raises(CheckpointError, match=f"expected {zeros + 1} zeros, got {zeros}"):
        verify_checkpoint(checkpoint, Checkpoint(model), [{**record, "zeros": zeros + 1}], in_place=True)
    with pytest.raises(CheckpointError, match="a group breaks 1:4"):
        verify_checkpoint(checkpoint, Checkpoint(model), [{**record, "keep": 1, "group": 4}], in_place=True)
    value[0, 0] = torch.inf
    writer.write(NAME, value)
    with pytest.raises(CheckpointError, match="inf or NaN"):
        verify_checkpoint(checkpoint, Checkpoint(model), [record], in_place=True)


def test_verify_sees_another_layout(source: Path, model: Path) -> None:
    shard = Checkpoint(model).tensors[NAME].path
    save_file({name: tensor.float() for name, tensor in load_file(shard).items()}, shard)
    with pytest.raises(CheckpointError, match="not laid out as in the source"):
        verify_checkpoint(Checkpoint(source), Checkpoint(model), [], in_place=False)


def test_obeys() -> None:
    weight = torch.tensor([[1.0, 0, 0, 2, 0, 3, 4, 0]])
    assert obeys(weight, 2, 4)
    assert not obeys(weight, 1, 4)
    assert not obeys(weight, 2, 3)  # does not divide
    assert not obeys(weight[0], 2, 4)  # no matrix
    assert obeys(-0.0 * weight, 1, 4)  # -0.0 is a zero


@pytest.mark.parametrize(
    ("kept", "pattern"),
    [([0], "1:4"), ([0, 3], "2:4"), ([0, 1, 2, 5], "4:8"), ([0, 1, 2, 3, 4, 5, 6, 8], "8:16"), (range(16), "16:32")],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e4m3fn, torch.int8])
def test_facts_name_the_strictest_pattern(tmp_path: Path, dtype: torch.dtype, kept: list[int], pattern: str) -> None:
    group = int(pattern.split(":")[1])
    weight = torch.zeros(6, 64)
    for column in kept:
        weight[:, column::group] = 1
    save_file({"w": weight.to(dtype)}, tmp_path / SINGLE)
    facts = tensor_facts(Checkpoint(tmp_path), "w")
    assert facts.pattern == pattern
    assert facts.zeros == int((weight == 0).sum())
    assert facts.sparsity == facts.zeros / weight.numel()
    assert (facts.shape, facts.size_bytes) == ((6, 64), weight.numel() * dtype.itemsize)


def test_facts_of_dense_and_odd_tensors(tmp_path: Path) -> None:
    odd = torch.zeros(3, 5)
    save_file(
        {"dense": torch.ones(4, 8), "odd": odd, "empty": torch.ones(0, 4), "scalar": torch.tensor(0.0)},
        tmp_path / SINGLE,
    )
    checkpoint = Checkpoint(tmp_path)
    facts = {name: tensor_facts(checkpoint, name) for name in checkpoint.tensors}
    assert {name: fact.pattern for name, fact in facts.items()} == dict.fromkeys(facts)
    assert {name: fact.zeros for name, fact in facts.items()} == {"dense": 0, "odd": 15, "empty": 0, "scalar": 1}
    assert facts["empty"].sparsity == 0


def test_copy_leaves_out_what_will_be_written(model: Path, tmp_path: Path) -> None:
    source = Checkpoint(model)
    names = sorted(source.tensors)
    left_out = names[::2]
    copy_checkpoint(source, tmp_path / "copy", left_out)
    copy = Checkpoint(tmp_path / "copy")
    for name in names:
        expected = torch.zeros_like(source.read(name)) if name in left_out else source.read(name)
        assert copy.read(name).view(-1).view(torch.uint8).equal(expected.view(-1).view(torch.uint8)), name
    writer = CheckpointWriter(tmp_path / "copy")
    for name in left_out:
        writer.write(name, source.read(name))
    writer.flush()
    for path in source.shards:
        assert (tmp_path / "copy" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("shape", [(), (0, 4), (1,), (7, 3), (100, 1000), (5, 40, 50)])
def test_pieces_make_up_a_tensor(tmp_path: Path, shape: tuple[int, ...]) -> None:
    tensor = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    save_file({"other": torch.ones(3), "a": tensor}, tmp_path / "model.safetensors")
    source = Checkpoint(tmp_path)
    pieces = row_pieces(source.tensors["a"], piece_bytes=1000)
    parts = [source.read_entry(piece) for piece in pieces]
    assert all(piece.size_bytes <= max(1000, tensor.nbytes // max(1, len(tensor))) for piece in pieces[:-1] if shape)
    assert (torch.cat(parts) if shape else parts[0]).equal(tensor)
