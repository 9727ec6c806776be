"""The weighted sum of many tensors, in plain PyTorch."""

import torch
from torch import Tensor


def weighted_sum_(out: Tensor, sources: Tensor, weights: Tensor) -> Tensor:
    """See fmcompress.ops.weighted_sum_."""
    total = sources[0].to(weights.dtype) * weights[0]
    for row, weight in zip(sources[1:], weights[1:], strict=True):
        total += row.to(weights.dtype) * weight  # two roundings: add_ with alpha may fuse them
    out.copy_(_once_rounded(total, out.dtype))
    return (~out.isfinite()).sum()


def _once_rounded(total: Tensor, dtype: torch.dtype) -> Tensor:
    """What of float64 can be rounded to a half float as if directly: torch goes by float32, which rounds twice.

    float32 rounded to odd keeps on which side of a tie the sum was (Boldo and Melquiond 2008).
    """
    if total.dtype != torch.float64 or dtype not in (torch.float16, torch.bfloat16):
        return total
    nearest = total.float()
    bits, wide = nearest.view(torch.int32), nearest.double()
    away = wide.abs() > total.abs()  # the magnitude was rounded up: the one below it is the truncated one
    odd = torch.where(away, bits - 1, bits) | 1
    return torch.where((wide == total) | total.isnan(), bits, odd).view(torch.float32)
