"""Slices of tensors by name, and the folders beside a checkpoint that belong to it."""

import json
from pathlib import Path

import pytest
import torch
from helpers import folder_bytes, make_checkpoint
from safetensors.torch import load_file, save_file

from fmcompress.checkpoint import Checkpoint, CheckpointWriter, copy_checkpoint
from fmcompress.errors import CheckpointError


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_checkpoint(tmp_path / "model", blocks=1)


def test_folders_of_sentence_transformers_come_along(model: Path, tmp_path: Path) -> None:
    """modules.json names them; others stay behind, as do those outside."""
    for name in ("1_Pooling", "2_Dense", "other"):
        (model / name).mkdir()
        (model / name / "config.json").write_text(f'{{"folder": "{name}"}}')
    (model / "2_Dense" / "model.safetensors").write_bytes(b"weights that nobody changed")
    paths = ["", "1_Pooling", "2_Dense", "..", "gone", 3]
    (model / "modules.json").write_text(json.dumps([{"path": path} for path in paths]))
    copy_checkpoint(Checkpoint(model), tmp_path / "copy")
    source, copied = folder_bytes(model), folder_bytes(tmp_path / "copy")
    assert copied == {name: data for name, data in source.items() if not name.startswith("other")}
    assert "2_Dense/model.safetensors" in copied


@pytest.mark.parametrize("broken", ["[", "{}", '[{"path": null}]', "[1]"])
def test_modules_that_cannot_be_read_are_a_plain_file(model: Path, tmp_path: Path, broken: str) -> None:
    (model / "modules.json").write_text(broken)
    copy_checkpoint(Checkpoint(model), tmp_path / "copy")
    assert folder_bytes(tmp_path / "copy") == folder_bytes(model)


def test_slices_of_a_tensor(tmp_path: Path) -> None:

    stacked = torch.arange(3 * 4 * 2, dtype=torch.float32).view(3, 4, 2)
    tensors = {"experts": stacked, "odd[1]": torch.ones(2), "odd": torch.zeros(2, 2)}
    save_file(tensors, tmp_path / "model.safetensors")
    checkpoint = Checkpoint(tmp_path)
    for index in range(3):
        assert checkpoint.read(f"experts[{index}]").equal(stacked[index])
    assert checkpoint.read("odd[1]").equal(torch.ones(2))  # a tensor of that name comes first
    for name in ("experts[3]", "experts[-1]", "experts[]", "none[0]", "experts[0][0]"):
        with pytest.raises(CheckpointError, match="holds no tensor"):
            checkpoint.read(name)
    writer = CheckpointWriter(tmp_path)
    writer.write("experts[1]", torch.full((4, 2), 7.0))
    with pytest.raises(CheckpointError, match=r"expected torch\.float32 \[4, 2\], got torch\.float32 \[2, 4\]"):
        writer.write("experts[1]", torch.zeros(2, 4))
    with pytest.raises(CheckpointError, match="no such tensor"):
        writer.write("experts[3]", torch.zeros(4, 2))
    writer.flush()
    stacked[1] = 7
    written = load_file(tmp_path / "model.safetensors")
    assert all(written[name].equal(tensor) for name, tensor in tensors.items())
