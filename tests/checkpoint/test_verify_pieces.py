"""A written checkpoint is looked at piece by piece."""

from pathlib import Path

import pytest
from helpers import make_checkpoint

from fmcompress.checkpoint import Checkpoint, row_pieces, verify, verify_checkpoint
from fmcompress.errors import CheckpointError


def test_the_zeros_of_all_pieces_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Checkpoint(make_checkpoint(tmp_path / "model", blocks=1))
    name = next(name for name in source.tensors if "q_proj" in name)
    monkeypatch.setattr(verify, "row_pieces", lambda entry: row_pieces(entry, 1))  # a row each
    weight = source.read(name)
    weight[::3, 0] = 0.0
    entry = source.entry(name)
    with entry.path.open("r+b") as file:
        file.seek(entry.offset)
        file.write(weight.view(-1).numpy().tobytes())
    zeros = int((weight == 0).sum())
    assert zeros > 1
    verify_checkpoint(source, source, [{"tensor": name, "zeros": zeros}], in_place=True)
    with pytest.raises(CheckpointError, match=f"expected {zeros - 1} zeros, got {zeros}"):
        verify_checkpoint(source, source, [{"tensor": name, "zeros": zeros - 1}], in_place=True)
