"""A weight that is loaded as it is stored is not read again to be solved, however it lies in the model."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import CPU, Silent, folder_bytes, make_text
from safetensors.torch import load_file, save_file
from torch import Tensor
from zoo import ZOO, save

from fmcompress import block_solver
from fmcompress.checkpoint import Checkpoint
from fmcompress.config import PruneConfig
from fmcompress.layer_batches import weight_of
from fmcompress.pipeline import compress_checkpoint, prepare


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["llama", "gpt2", "qwen3_moe"])
def test_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, dtype: str) -> None:
    save(ZOO[name], tmp_path / "model", torch.bfloat16)
    text, read, real = make_text(tmp_path / "text.txt", 6_000), Counter[str](), Checkpoint.read

    def counted(self: Checkpoint, tensor: str) -> Tensor:
        read[tensor] += self.folder == tmp_path / "model"
        return real(self, tensor)

    def run(out: Path) -> dict[str, Any]:
        config = PruneConfig(sequence_length=32, samples=8, sparsity=0.5, dtype=dtype, true_sequential=True)
        return compress_checkpoint(prepare(tmp_path / "model", config, text, CPU), out, Silent())

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoint, "read", counted)
        facts = run(tmp_path / "out")
    assert {read[layer["tensor"]] for layer in facts["layers"]} == {1 if dtype == "bfloat16" else 2}
    monkeypatch.setattr(block_solver, "weight_of", lambda job, layer: layer.read(job.source).to(job.device))
    run(tmp_path / "again")
    assert folder_bytes(tmp_path / "again") == folder_bytes(tmp_path / "out")


def test_of_several_dtypes_each_expert_is_solved_as_it_is_stored(tmp_path: Path) -> None:
    """The model holds all of them in one parameter, of the first one's dtype, whose numbers may be coarser."""
    folder = save(ZOO["mixtral"], tmp_path / "model", torch.float32)
    tensors = load_file(folder / "model.safetensors")
    for name in tensors:
        if name.endswith("w1.weight"):
            tensors[name] = tensors[name].bfloat16()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    text = make_text(tmp_path / "text.txt", 6_000)
    config = PruneConfig(sequence_length=32, samples=8, sparsity=0.5, dtype="float32")
    job = prepare(folder, config, text, CPU)
    assert job.streamed is not None
    with job.streamed.loaded(0):
        for layer in job.layers[0].values():
            assert torch.equal(weight_of(job, layer).to("cpu"), layer.read(job.source)), layer.tensor
