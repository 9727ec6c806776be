"""The triangular factor of small blocks in plain PyTorch."""

import torch
from torch import Tensor


def factor_block(symmetric: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """See fmcompress.ops.factor_block."""
    # with rows and columns reversed, the usual lower factor becomes the upper one
    lower, info = torch.linalg.cholesky_ex(symmetric.flip(-2, -1))
    finite = lower.diagonal(dim1=-2, dim2=-1).isfinite().all(-1)  # LAPACK does not always report a NaN
    identity = torch.eye(symmetric.shape[-1], dtype=symmetric.dtype, device=symmetric.device)
    inverse = torch.linalg.solve_triangular(lower, identity.expand_as(lower), upper=False)
    failed = ((info != 0) | ~finite).to(torch.int32)
    return lower.flip(-2, -1).contiguous(), inverse.flip(-2, -1).contiguous(), failed
