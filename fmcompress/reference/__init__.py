"""The definition of every op in plain PyTorch: the default kernel wherever no native one is loaded."""

import torch

from .._ops import CHECKS
from .cocktail import add_payload_, compress_delta_, compress_gradient_, compress_mean_
from .cocktail_payload import payload_checksum
from .factor import factor_block
from .low_rank import low_rank_rows_, nearest_rows
from .merging import weighted_sum_
from .packed_linear import dense_weight, packed_linear
from .packing import pack_bitmask, pack_codes, unpack_bitmask, unpack_codes
from .pruning import admm_step_, nm_mask, select_smallest, sweep_block_
from .quantization import dequantize, joint_sweep_block_, quantize, search_grid
from .scheduling import bottleneck, improve_plan, plan_cost

__all__ = [
    "add_payload_",
    "admm_step_",
    "bottleneck",
    "compress_delta_",
    "compress_gradient_",
    "compress_mean_",
    "dense_weight",
    "dequantize",
    "factor_block",
    "improve_plan",
    "joint_sweep_block_",
    "low_rank_rows_",
    "nearest_rows",
    "nm_mask",
    "pack_bitmask",
    "pack_codes",
    "packed_linear",
    "payload_checksum",
    "plan_cost",
    "quantize",
    "search_grid",
    "select_smallest",
    "sweep_block_",
    "unpack_bitmask",
    "unpack_codes",
    "weighted_sum_",
]

for _op in CHECKS:
    torch.library.register_kernel(f"fmcompress::{_op}", "default", globals()[_op])
