"""Allocations of models with experts in fused tensors, of turned weights, and of two towers."""

from pathlib import Path
from typing import Any

import pytest
from helpers import CPU
from zoo import ZOO, calibration, save

from fmcompress.allocation.levels import MixedReader
from fmcompress.allocation.run import Search, find_allocation
from fmcompress.checkpoint import Checkpoint
from fmcompress.config import PruneConfig
from fmcompress.errors import CheckpointError
from fmcompress.job import Job
from fmcompress.pipeline import prepare


def allocate(name: str, folder: Path, search: Search | None) -> Any:
    save(ZOO[name], folder / "model")
    paths: Any = calibration(ZOO[name], folder)

    def ready(config: PruneConfig) -> Job:
        return prepare(folder / "model", config, paths.get("calibration"), CPU, images=paths.get("images"))

    config = PruneConfig(sparsity=0.6, sequence_length=32, samples=4, few_tokens="magnitude")
    return find_allocation(ready, config, folder / "a.json", 0.08, search, quiet=True)[0], ready(config)


@pytest.mark.parametrize("name", ["gpt2", "gpt_oss"])
def test_search(tmp_path: Path, name: str) -> None:
    found, job = allocate(name, tmp_path, Search([], "wanda", 0.2, 1, 2, 2))
    weights = {layer.tensor: layer.rows * layer.cols for block in job.layers for layer in block.values()}
    assert found.layers.keys() == weights.keys()
    zeros = [found.layers[tensor] * weights[tensor] for tensor in weights]
    assert round(sum(zeros)) == int(0.6 * sum(weights.values()) + 0.5)


def test_outliers_of_two_towers(tmp_path: Path) -> None:
    found, job = allocate("clip", tmp_path, None)
    assert found.layers.keys() == {layer.tensor for block in job.layers for layer in block.values()}
    assert len(found.found["outliers"]) == 4
    assert max(found.layers.values()) - min(found.layers.values()) == pytest.approx(0.16, abs=1e-2)


def test_search_needs_next_tokens(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="predicts no next token"):
        allocate("bert", tmp_path, Search([]))


def test_a_fused_tensor_is_read_slice_by_slice(tmp_path: Path) -> None:
    save(ZOO["gpt_oss"], tmp_path / "one")
    model = Checkpoint(save(ZOO["gpt_oss"], tmp_path / "model"))
    name = next(name for name, entry in model.tensors.items() if len(entry.shape) == 3)

    class Ones(Checkpoint):
        def read(self, name: str) -> Any:
            return super().read(name).fill_(1)

    read = MixedReader(model, {f"{name}[2]": Ones(tmp_path / "one")}).read(name)
    assert read[2].eq(1).all()
    assert read[1].equal(model.read(name)[1])
    assert read.shape == model.tensors[name].shape
