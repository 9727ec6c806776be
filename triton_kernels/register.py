"""The Triton twins under the names of the ops, and their registration for GPUs."""

import torch

from .admm import admm_step_
from .cocktail import add_payload_, compress_delta_, compress_gradient_, compress_mean_, payload_checksum
from .factor import factor_block
from .grid import dequantize, quantize, search_grid
from .pack import pack_bitmask, pack_codes, unpack_bitmask, unpack_codes
from .packed_linear import packed_linear
from .select import nm_mask, select_smallest
from .sweep import joint_sweep_block_, sweep_block_
from .weighted_sum import weighted_sum_

__all__ = [
    "add_payload_",
    "admm_step_",
    "compress_delta_",
    "compress_gradient_",
    "compress_mean_",
    "dequantize",
    "factor_block",
    "joint_sweep_block_",
    "nm_mask",
    "pack_bitmask",
    "pack_codes",
    "packed_linear",
    "payload_checksum",
    "quantize",
    "register_on_cuda",
    "search_grid",
    "select_smallest",
    "sweep_block_",
    "unpack_bitmask",
    "unpack_codes",
    "weighted_sum_",
]

OPS = [name for name in __all__ if name != "register_on_cuda"]


def register_on_cuda() -> None:
    """Let Triton run each op that no CUDA kernel runs; a second call changes nothing."""
    for op in OPS:
        name = f"fmcompress::{op}"
        if not torch._C._dispatch_has_kernel_for_dispatch_key(name, "CUDA"):
            torch.library.register_kernel(name, "cuda", globals()[op])
