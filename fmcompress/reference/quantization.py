"""Grids, codes and the joint sweep in plain PyTorch."""

import torch
from torch import Tensor

from .pruning import nm_mask


def _levels(weight: Tensor, scale: Tensor, zero: Tensor, bits: int) -> Tensor:
    """Steps from zero to the nearest level of the grid; all arguments broadcast."""
    zero = zero.to(weight.dtype)
    return torch.minimum(torch.maximum(weight / scale, -zero), 2**bits - 1 - zero).round()


def search_grid(weight: Tensor, bits: int, symmetric: bool, candidates: int) -> tuple[Tensor, Tensor]:
    """See fmcompress.ops.search_grid."""
    top = 2**bits - 1
    low, high = weight.amin(1).clamp(max=0), weight.amax(1).clamp(min=0)
    if symmetric:
        high = torch.maximum(high, -low)
        low = -high
    least = torch.full_like(low, torch.inf)
    best_scale, best_zero = torch.ones_like(low), torch.zeros_like(low)
    for candidate in range(candidates):
        shrink = 1 - 0.8 * candidate / candidates
        scale = (high - low) * shrink / top
        scale = torch.where(scale > 0, scale, 1.0)
        zero = torch.full_like(scale, 2 ** (bits - 1))
        if not symmetric:
            zero = (-low * shrink / scale).clamp(0, top).round()
        error = (_levels(weight, scale[:, None], zero[:, None], bits) * scale[:, None] - weight).square().sum(1)
        better = error < least if candidate else error <= least
        least = torch.where(better, error, least)
        best_scale, best_zero = torch.where(better, scale, best_scale), torch.where(better, zero, best_zero)
    return best_scale, best_zero.to(torch.uint8)


def quantize(weight: Tensor, scale: Tensor, zero: Tensor, bits: int) -> Tensor:
    """See fmcompress.ops.quantize."""
    scale, zero = scale[:, None], zero[:, None]
    return (_levels(weight, scale, zero, bits) + zero.to(weight.dtype)).to(torch.uint8)


def dequantize(codes: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """See fmcompress.ops.dequantize."""
    return (codes.to(scale.dtype) - zero[:, None].to(scale.dtype)) * scale[:, None]


def joint_sweep_block_(
    weight: Tensor, factor: Tensor, prune: Tensor | None, scale: Tensor, zero: Tensor, bits: int, keep: int, group: int
) -> tuple[Tensor, Tensor]:
    """See fmcompress.ops.joint_sweep_block_."""
    diagonal = factor.diagonal(dim1=-2, dim2=-1)[..., None, :]  # the same for every row
    scale, zero = scale.expand_as(weight), zero.expand_as(weight)
    chosen = torch.zeros_like(weight, dtype=torch.bool) if prune is None else prune
    loss, codes = weight.new_zeros(weight.shape[:-1]), torch.empty_like(weight, dtype=torch.uint8)
    for j in range(weight.shape[-1]):
        if prune is None and group and j % group == 0:
            members = slice(j, j + group)
            chosen[..., members] = nm_mask((weight[..., members] / diagonal[..., members]) ** 2, keep, group)
        levels = _levels(weight[..., j], scale[..., j], zero[..., j], bits).masked_fill(chosen[..., j], 0.0)
        solved = levels * scale[..., j] + 0.0
        error = (weight[..., j] - solved) / diagonal[..., j]
        weight[..., j + 1 :] -= error[..., None] * factor[..., j, None, j + 1 :]
        weight[..., j] = solved
        codes[..., j] = (levels + zero[..., j].to(weight.dtype)).to(torch.uint8)
        loss += error**2
    return loss, codes
