"""Checkpoints and what became of them: what the tests of patches share."""

import shutil
from pathlib import Path

import torch
from compression import bare_checkpoint
from torch import Tensor

from fmcompress.checkpoint import Checkpoint, CheckpointWriter


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0, scale: float = 0.02, dtype: torch.dtype = torch.float32) -> Tensor:
    return (scale * torch.randn(*shape, generator=generator(seed))).to(dtype)


def some(tensor: Tensor, share: float, seed: int = 0) -> Tensor:
    """Where about that share of the entries lies."""
    return torch.rand(tensor.shape, generator=generator(seed)) < share


def tuned_copy(base: Path, to: Path, share: float = 0.1) -> Path:
    """A copy of which some tensors changed in many ways, and some not."""
    shutil.copytree(base, to)
    writer = CheckpointWriter(to)
    for number, name in enumerate(sorted(writer.tensors)):
        tensor = Checkpoint(to).read(name)
        change = normal(*tensor.shape, seed=number, scale=1e-3)
        if number % 3 == 1:
            change = change * some(tensor, share, number)
        if number % 3:
            writer.write(name, (tensor.float() + change).to(tensor.dtype))
    writer.flush()
    return to


def pair(folder: Path, before: dict[str, Tensor], after: dict[str, Tensor]) -> tuple[Path, Path]:
    """Two bare checkpoints."""
    return bare_checkpoint(folder / "base", before), bare_checkpoint(folder / "tuned", after)


def with_dtypes() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Tensors of all dtypes, changed a little: signs of zeros, NaNs with a payload, wrapped integers, nothing at all."""
    before, after = dict[str, Tensor](), dict[str, Tensor]()
    for number, dtype in enumerate((torch.float64, torch.float32, torch.bfloat16, torch.float16)):
        tensor = normal(40, 50, seed=number, dtype=dtype)
        tensor[0, :4] = torch.tensor([0.0, -0.0, float("inf"), float("nan")])
        changed = torch.where(some(tensor, 0.1, number), -tensor, tensor)
        changed[0, :4] = torch.tensor([-0.0, 0.0, float("-inf"), 1.0])
        bits = changed.view({2: torch.int16, 4: torch.int32, 8: torch.int64}[dtype.itemsize])
        bits[1, 0] = bits[0, 2] + 3  # a NaN of its own
        before[f"{dtype}"], after[f"{dtype}"] = tensor, changed
    for dtype in (torch.float8_e4m3fn, torch.float8_e5m2):
        before[f"{dtype}"] = normal(16, 300, scale=1.0).to(dtype)
        after[f"{dtype}"] = before[f"{dtype}"].clone()
        after[f"{dtype}"].view(torch.uint8)[3, :20] ^= 0x81
    for dtype in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8):
        info = torch.iinfo(dtype)
        before[f"{dtype}"] = torch.randint(info.min, info.max, (30, 20), generator=generator()).to(dtype)
        after[f"{dtype}"] = before[f"{dtype}"].clone()
        before[f"{dtype}"][0, 0], after[f"{dtype}"][0, 0] = info.min, info.max
    before["bool"] = some(torch.empty(64, 64), 0.5)
    after["bool"] = before["bool"] ^ some(torch.empty(64, 64), 0.01, 1)
    before["empty"] = after["empty"] = torch.zeros(0, 7)
    before["scalar"], after["scalar"] = torch.tensor(1.5), torch.tensor(1.25)
    before["same"] = after["same"] = normal(9, 9)
    return before, after
