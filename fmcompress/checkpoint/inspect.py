"""Facts about the tensors of a checkpoint: zeros and the N:M patterns that they obey."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .reader import Checkpoint

COMMON_PATTERNS = ((1, 4), (2, 4), (4, 8), (8, 16), (16, 32))  # kept of every group, the strictest first


@dataclass(frozen=True)
class TensorFacts:
    """What a tensor holds; `pattern` is the strictest common N:M that every group obeys, or None."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    zeros: int
    size: int
    size_bytes: int
    pattern: str | None

    @property
    def sparsity(self) -> float:
        """Share of zeros in [0, 1]."""
        return self.zeros / max(1, self.size)

    @property
    def bits_per_weight(self) -> float:
        """On disk, scales and places included."""
        return 8 * self.size_bytes / max(1, self.size)


def obeys(weight: Tensor, keep: int, group: int) -> bool:
    """Whether every group of neighbours in a row of a [rows, cols] weight holds at most `keep` nonzeros."""
    if weight.dim() != 2 or weight.shape[1] % group:
        return False
    # comparing half floats, and summing bools as int64, is ten times slower
    nonzeros = weight.bool().view(torch.uint8).view(-1, group)
    return bool((nonzeros.sum(1, dtype=torch.uint8 if group < 256 else torch.int64) <= keep).all())


def tensor_facts(checkpoint: Checkpoint, name: str) -> TensorFacts:
    """Read one tensor and describe it."""
    entry, tensor = checkpoint.tensors[name], checkpoint.read(name)
    # float8 has no comparison on the CPU: its zeros are the bytes 0x00 and 0x80
    plain = tensor.float() if tensor.is_floating_point() and tensor.dtype.itemsize == 1 else tensor
    zeros = int((plain == 0).sum())
    pattern = None
    if plain.dim() == 2 and zeros * 4 >= plain.numel() > 0:
        pattern = next((f"{n}:{m}" for n, m in COMMON_PATTERNS if obeys(plain, n, m)), None)
    dtype = str(entry.dtype).removeprefix("torch.")
    return TensorFacts(name, entry.shape, dtype, zeros, plain.numel(), entry.size_bytes, pattern)
