"""Small checkpoints to merge, and what merging them must give, in NumPy and float64."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from fmcompress.checkpoint import Checkpoint
from fmcompress.merging import merge_checkpoints, plan_merge, recipe_of

SHAPES = {
    "model.embed_tokens.weight": (60, 16),
    "model.layers.0.mlp.weight": (130, 100),  # several blocks of 4096
    "model.layers.0.norm.weight": (16,),
    "model.layers.1.mlp.weight": (97, 129),
    "model.layers.1.norm.weight": (16,),
    "model.layers.2.mlp.weight": (64, 128),
    "model.layers.2.norm.weight": (16,),
    "model.empty": (0, 4),
    "model.scale": (),
    "lm_head.weight": (60, 16),
}


def random_tensors(seed: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Tensors of all magnitudes, zeros of either sign among them, and one of integers that is the same for all."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in SHAPES.items():
        values = torch.randn(shape, generator=generator) * 2.0 ** torch.randint(-9, 3, shape, generator=generator)
        zeros = torch.rand(shape, generator=generator)
        tensors[name] = torch.where(zeros < 0.05, -0.0, torch.where(zeros > 0.95, 0.0, values)).to(dtype)
    return {**tensors, "model.positions": torch.arange(7)}


def write_model(folder: Path, tensors: Mapping[str, Tensor], shards: int = 1, **config: Any) -> Path:
    """A checkpoint folder in so many shards, with a config.json."""
    folder.mkdir(parents=True)
    names = list(tensors)
    about = {"architectures": ["TestModel"], "model_type": "test", "hidden_size": 16, "dtype": "float32", **config}
    (folder / "config.json").write_text(json.dumps(about))
    if shards == 1:
        save_file(dict(tensors), folder / "model.safetensors", metadata={"format": "pt"})
        return folder
    weight_map = {}
    for number in range(shards):
        file, here = f"model-{number + 1:05d}-of-{shards:05d}.safetensors", names[number::shards]
        save_file({name: tensors[name] for name in here}, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(here, file)
    index = {"metadata": {"total_size": sum(t.nbytes for t in tensors.values())}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def run_merge(out: Path, method: str, models: Sequence[Any], *, change: Mapping[str, Any] | None = None, **fields: Any):
    """Merge folders, or entries of a recipe, into OUT; `change` replaces fields of the plan. Returns its tensors."""
    from dataclasses import replace

    listed = [one if isinstance(one, dict) else {"model": str(one)} for one in models]
    recipe = recipe_of({"models": listed, "merge_method": method, **fields})
    merge_checkpoints(replace(plan_merge(recipe), **(change or {})), out)
    return all_tensors(out)


def all_tensors(folder: Path) -> dict[str, Tensor]:
    """What a checkpoint holds."""
    checkpoint = Checkpoint(folder)
    return {name: checkpoint.read(name) for name in checkpoint.tensors}


def weighted(model: Path | str, **parameters: Any) -> dict[str, Any]:
    """An entry of a recipe."""
    return {"model": str(model), "parameters": parameters}


def wide(tensor: Tensor) -> np.ndarray:
    """In float64."""
    return tensor.double().numpy()


def rounded(values: np.ndarray, dtype: torch.dtype) -> Tensor:
    """float64 to a narrower dtype in one rounding, half to even: NumPy's own, and for bfloat16 by its quantum."""
    if dtype == torch.bfloat16:
        quantum = np.exp2(np.maximum(np.frexp(values)[1] - 8, -133).astype(np.float64))
        return torch.from_numpy(np.asarray(np.rint(values / quantum) * quantum)).bfloat16()
    kind = {torch.float16: np.float16, torch.float32: np.float32, torch.float64: np.float64}[dtype]
    return torch.from_numpy(np.asarray(values.astype(kind)))


def expected_sum(tensors: Sequence[Tensor], coefficients: Sequence[float], dtype: torch.dtype) -> Tensor:
    """Coefficient times tensor, product by product in float64, models of coefficient 0 left out; rounded once."""
    total: Any = None
    for tensor, coefficient in zip(tensors, coefficients, strict=True):
        if coefficient:
            product = wide(tensor) * np.float64(coefficient)
            total = product if total is None else total + product
    return rounded(total, dtype).view(tensors[0].shape)


def assert_same_bits(got: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """The same names, dtypes, shapes and bytes."""
    assert got.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert (got[name].dtype, got[name].shape) == (tensor.dtype, tensor.shape), name
        ours, theirs = (one.contiguous().view(-1).view(torch.uint8) for one in (got[name], tensor))
        assert torch.equal(ours, theirs), name
