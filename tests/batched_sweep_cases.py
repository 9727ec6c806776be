"""What both sweeps make of a batch of matrices: bit for bit what the same implementation makes of each by itself."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.float64)
# batch, rows, cols, keep, group; a group of 0 means a mask, and in the joint sweep also that nothing is pruned
CASES = [
    *[(0, 5, 8, 0, 0), (1, 5, 23, 0, 0), (3, 35, 23, 0, 0), (3, 0, 8, 0, 0), (2, 4, 0, 0, 0), (5, 1, 1, 0, 0)],
    *[(0, 5, 8, 2, 4), (1, 5, 12, 2, 4), (3, 33, 20, 1, 4)],
    *[(0, 5, 9, 1, 3), (1, 5, 9, 1, 3), (3, 33, 24, 3, 8), (2, 3, 128, 64, 128)],
]


def matrices(batch: int, rows: int, cols: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Weight, factor and mask, different for each matrix; below its diagonal a factor is NaN, which nobody may read."""
    source = torch.Generator().manual_seed(batch + 10 * rows + 1000 * cols)
    weight = torch.randn(batch, rows, cols, generator=source, dtype=dtype)
    factor = torch.randn(batch, cols, cols, generator=source, dtype=dtype) / (2 * max(cols, 1) ** 0.5)
    factor.diagonal(dim1=1, dim2=2).copy_(torch.rand(batch, cols, generator=source, dtype=dtype) + 0.5)
    below = torch.ones(cols, cols, dtype=torch.bool).tril(-1)
    prune = torch.rand(batch, rows, cols, generator=source) < 0.5
    return weight, factor.masked_fill(below, float("nan")), prune


def check_batched_sweep(sweep_block_: Callable[..., Tensor]) -> None:
    for dtype in DTYPES:
        for batch, rows, cols, keep, group in CASES:
            weight, factor, prune = matrices(batch, rows, cols, dtype)
            masks = prune if group == 0 else [None] * batch
            expected = weight.clone()
            losses = [
                sweep_block_(*each, keep, group) for each in zip(expected.unbind(), factor.unbind(), masks, strict=True)
            ]
            loss = sweep_block_(weight, factor, prune if group == 0 else None, keep, group)
            _same((dtype, batch, rows, cols, keep, group), (weight, loss), (expected, _stacked(losses, loss)))
            assert loss.shape == (batch, rows)
            assert loss.numel() * cols == 0 or loss.sum() > 0


def joint_cases() -> Iterator[tuple]:
    for dtype in DTYPES:
        for batch, rows, cols, keep, group in CASES:
            weight, factor, some = matrices(batch, rows, cols, dtype)
            source = torch.Generator().manual_seed(rows)
            for prune in [None] if group else [None, some]:
                for width in sorted({1, cols} - {0}):
                    scale = torch.rand(batch, rows, width, generator=source, dtype=dtype) + 0.2
                    zero = torch.randint(16, scale.shape, generator=source, dtype=torch.uint8)
                    yield weight.clone(), factor, prune, scale, zero, 4, keep, group


def check_batched_joint_sweep(joint_sweep_block_: Callable[..., tuple[Tensor, Tensor]]) -> None:
    for weight, factor, prune, scale, zero, *numbers in joint_cases():
        masks = [None] * len(weight) if prune is None else prune
        expected = weight.clone()
        parts = zip(expected.unbind(), factor.unbind(), masks, scale.unbind(), zero.unbind(), strict=True)
        results = [joint_sweep_block_(*each, *numbers) for each in parts]
        loss, codes = joint_sweep_block_(weight, factor, prune, scale, zero, *numbers)
        wanted = expected, *(_stacked([r[i] for r in results], (loss, codes)[i]) for i in range(2))
        _same((weight.dtype, weight.shape, scale.shape, *numbers), (weight, loss, codes), wanted)
        assert loss.shape == weight.shape[:2]


def _stacked(parts: list[Tensor], like: Tensor) -> Tensor:
    return torch.stack(parts) if parts else torch.empty_like(like)


def _same(case: tuple, actual: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> None:
    for a, b in zip(actual, expected, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype), case
        assert torch.equal(a.view(torch.uint8), b.view(torch.uint8)) if a.numel() else True, case
