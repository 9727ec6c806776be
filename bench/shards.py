"""Writes a synthetic checkpoint a shard at a time, so that no bench holds all of it."""

import json
from collections.abc import Iterable
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor


def write_shards(folder: Path, shards: Iterable[dict[str, Tensor]], count: int) -> int:
    """As many shards as are counted, and their index. Returns the bytes of all tensors."""
    weight_map, total = dict[str, str](), 0
    for number, tensors in enumerate(shards, 1):
        file = f"model-{number:05d}-of-{count:05d}.safetensors"
        save_file(tensors, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(tensors, file)
        total += sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return total
