"""Two processes prune stacks and experts as one does, also where one of them sees no token of an expert."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import CPU, Silent
from rank_workers import on_ranks
from zoo import ZOO, calibration, save

from fmcompress.checkpoint import Checkpoint
from fmcompress.config import PruneConfig
from fmcompress.pipeline import compress_checkpoint, prepare
from fmcompress.ranks import Ranks


def compress(ranks: Ranks, home: Path, name: str, out: Path) -> dict[str, Any]:
    torch.set_num_threads(1)
    given = {"text": home / "text.txt", "images": home / "images"}
    text, images = (given[kind] if kind in ZOO[name].inputs else None for kind in ("text", "images"))
    config = PruneConfig(sparsity=0.5, sequence_length=32, samples=3)
    return compress_checkpoint(prepare(home / name, config, text, CPU, ranks, images), out, Silent())


@pytest.mark.parametrize("name", ["t5", "clip", "mixtral", "gpt_oss", "gpt2"])
def test_two_ranks_prune_what_one_does(tmp_path: Path, name: str) -> None:
    save(ZOO[name], tmp_path / name)
    calibration(ZOO["clip"], tmp_path)
    threads = torch.get_num_threads()
    alone = compress(Ranks(), tmp_path, name, tmp_path / "one")
    torch.set_num_threads(threads)
    ends = on_ranks(compress, 2, tmp_path / "ends", tmp_path, name, tmp_path / "two")
    assert [(end.error, end.code) for end in ends] == [("", 0)] * 2
    for one, two in zip(alone["layers"], ends[0].value["layers"], strict=True):
        for key in ("tensor", "tokens", "zeros", "rows", "cols"):
            assert one[key] == two[key]
        assert two["loss"] == pytest.approx(one["loss"], rel=0.02)
    one, two = Checkpoint(tmp_path / "one"), Checkpoint(tmp_path / "two")
    for tensor in one.tensors:
        weight, twin = one.read(tensor).float(), two.read(tensor).float()
        moved = (weight - twin).abs() > 1e-3 * weight.abs().max()
        assert moved.float().mean() < 0.02, tensor
