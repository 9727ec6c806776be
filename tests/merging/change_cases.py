"""Tensors in memory cut into blocks, and what TIES and DARE must give, in NumPy and float64, entry by entry."""

from collections.abc import Sequence

import numpy as np
import torch
from merging_cases import rounded, wide
from torch import Tensor

from fmcompress.merging.method import Blocks, Method, TensorSettings

WHOLE = 1 << 20


def blocks_of(rows: Tensor, length: int) -> Blocks:
    """Blocks of so many entries, all in one buffer that is used again."""

    def blocks():
        buffer = torch.empty(len(rows), length, dtype=rows.dtype)
        for begin in range(0, rows.shape[1], length):
            block = buffer[:, : min(length, rows.shape[1] - begin)]
            block.copy_(rows[:, begin : begin + length])
            yield begin, block

    return blocks


def merged(method: Method, rows: Tensor, *, length: int = WHOLE, name: str = "w", **options) -> Tensor:
    """One tensor of a base and models [1 + n, count] merged in blocks, the last block first."""
    count, models = rows.shape[1], len(rows) - 1
    options = {"weights": (1.0,) * models, "densities": (1.0,) * models, **options}
    settings = TensorSettings(name, count, based=True, **options)
    blocks, out = blocks_of(rows, length), torch.full((count,), torch.nan, dtype=rows.dtype)
    merge = method(settings, blocks)
    for begin, block in reversed([(begin, block.clone()) for begin, block in blocks()]):
        assert not merge(begin, block, out[begin : begin + length])
    return out


def random_rows(seed: int, models: int, count: int, dtype: torch.dtype, spread: float = 0.1) -> Tensor:
    """A base and models near it; some entries of every model are as in the base."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(count, generator=generator, dtype=torch.float64)
    changes = spread * torch.randn(models, count, generator=generator, dtype=torch.float64)
    changes[torch.rand(models, count, generator=generator) < 0.2] = 0
    return torch.cat([base[None], base + changes]).to(dtype)


def trimmed(rows: Tensor, densities: Sequence[float]) -> np.ndarray:
    """Changes [n, count] in float64, of which the largest in magnitude are left, the lowest index first."""
    base, *models = rows
    compared = np.float64 if rows.dtype == torch.float64 else np.float32
    kept = np.zeros((len(models), len(base)))
    for row, model, density in zip(kept, models, densities, strict=True):
        sizes = np.abs(wide(model).astype(compared) - wide(base).astype(compared))
        count = max(1, int(density * len(base))) if density < 1 else len(base)
        largest = sorted(range(len(base)), key=lambda i: (-sizes[i], i))[:count]
        row[largest] = (wide(model) - wide(base))[largest]
    return kept


def expected_ties(changes: np.ndarray, base: Tensor, weights, *, normalize: bool = True, scale: float = 1.0) -> Tensor:
    """Sign election and disjoint merge of changes [n, count] in a loop over entries, rounded once."""
    out = wide(base).copy()
    for i, column in enumerate(changes.T):
        weighted = [(weight * change, weight) for weight, change in zip(weights, column, strict=True)]
        sides = {sign: [pair for pair in weighted if sign * pair[0] > 0] for sign in (1, -1)}
        mass = {sign: sum(abs(change) for change, _ in side) for sign, side in sides.items()}
        side = sides[1 if mass[1] >= mass[-1] else -1]
        change, share = sum(pair[0] for pair in side), sum(pair[1] for pair in side)
        if normalize and share:
            change /= share
        if change * scale:
            out[i] += change * scale
    return rounded(out, base.dtype)
