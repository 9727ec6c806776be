"""The Triton twins under the names of the ops, and their registration for GPUs."""

import torch

from .select import nm_mask, select_smallest
from .sweep import sweep_block_

__all__ = ["nm_mask", "register_on_cuda", "select_smallest", "sweep_block_"]


def register_on_cuda() -> None:
    """Let Triton run each op that no CUDA kernel runs; a second call changes nothing."""
    for op in (select_smallest, nm_mask, sweep_block_):
        name = f"fmcompress::{op.__name__}"
        if not torch._C._dispatch_has_kernel_for_dispatch_key(name, "CUDA"):
            torch.library.register_kernel(name, "cuda", op)
