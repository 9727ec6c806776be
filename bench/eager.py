"""The baselines: SparseGPT and GPTQ as eager PyTorch loops, three factorisations and one rank-1 update a column."""

import torch
from torch import Tensor

from fmcompress.pruning import NM, Pattern
from fmcompress.quantization import Grid


def eager_sparsegpt(weight: Tensor, hessian: Tensor, pattern: Pattern, damping: float = 0.01) -> tuple[Tensor, float]:
    """The pruned weight [rows, cols] and the damped loss, by the published algorithm as people run it today.

    Exactly k weights of a block are pruned, so that masks can be compared.
    """
    weight, factor = weight.clone(), _factor(hessian, damping)
    loss = 0.0
    for begin in range(0, weight.shape[1], 128):
        end = min(begin + 128, weight.shape[1])
        pruned, errors = _eager_block(weight[:, begin:end].clone(), factor[begin:end, begin:end], pattern)
        loss += float((errors.double() ** 2).sum())
        weight[:, begin:end] = pruned
        weight[:, end:] -= errors @ factor[begin:end, end:]
    return weight, loss


def _factor(hessian: Tensor, damping: float) -> Tensor:
    hessian = hessian.clone()
    hessian.diagonal().add_(damping * hessian.diagonal().mean())
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    return torch.linalg.cholesky(inverse, upper=True)


def eager_gptq(weight: Tensor, hessian: Tensor, grid: Grid, damping: float = 0.01) -> tuple[Tensor, float]:
    """The dequantized weight [rows, cols] and the damped loss: symmetric scales from the range of each group."""
    weight, factor = weight.clone(), _factor(hessian, damping)
    loss, top, size = 0.0, 2**grid.bits - 1, grid.width(weight.shape[1])
    for begin in range(0, weight.shape[1], 128):
        end = min(begin + 128, weight.shape[1])
        block, inverse = weight[:, begin:end].clone(), factor[begin:end, begin:end]
        errors, solved = torch.zeros_like(block), torch.zeros_like(block)
        for j in range(end - begin):
            if (begin + j) % size == 0:
                scale = block[:, j : j + size].abs().amax(1) * 2 / top
            column = block[:, j]
            level = torch.clamp(torch.round(column / scale), -(2 ** (grid.bits - 1)), 2 ** (grid.bits - 1) - 1)
            solved[:, j] = level * scale
            error = (column - solved[:, j]) / inverse[j, j]
            block[:, j:] -= error.unsqueeze(1).matmul(inverse[j, j:].unsqueeze(0))
            errors[:, j] = error
        loss += float((errors.double() ** 2).sum())
        weight[:, begin:end] = solved
        weight[:, end:] -= errors @ factor[begin:end, end:]
    return weight, loss


def _eager_block(block: Tensor, factor: Tensor, pattern: Pattern) -> tuple[Tensor, Tensor]:
    pruned, errors = torch.zeros_like(block), torch.zeros_like(block)
    mask = torch.zeros_like(block, dtype=torch.bool)
    if not isinstance(pattern, NM):
        scores = block**2 / factor.diagonal() ** 2
        threshold = torch.sort(scores.flatten())[0][pattern.zeros(*block.shape) - 1]
        mask = scores <= threshold
    for j in range(block.shape[1]):
        if isinstance(pattern, NM) and j % pattern.group == 0:
            group = slice(j, j + pattern.group)
            scores = block[:, group] ** 2 / factor.diagonal()[group] ** 2
            mask.scatter_(1, j + torch.topk(scores, pattern.group - pattern.keep, dim=1, largest=False)[1], True)
        column = block[:, j]
        kept = column.clone()
        kept[mask[:, j]] = 0
        pruned[:, j] = kept
        error = (column - kept) / factor[j, j]
        block[:, j:] -= error.unsqueeze(1).matmul(factor[j, j:].unsqueeze(0))
        errors[:, j] = error
    return pruned, errors
