"""Public functions over torch.ops.fmcompress: typed, checked; inputs made contiguous here and nowhere else."""

from .._ops import (
    BITS,
    EXACT_STAGES,
    HEADER,
    HEADER_BYTES,
    INPUTS,
    MAX_BLOCK_COLS,
    MAX_STRATUM,
    NOT_FINITE,
    TERMS,
    Layout,
    check_layout,
    index_bits,
    packed_bytes,
    waiting_s,
)
from .cocktail import add_payload_, compress_delta_, compress_gradient_, compress_mean_, payload_checksum
from .factor import factor_block
from .low_rank import low_rank_rows_, nearest_rows
from .merging import weighted_sum_
from .packed_linear import check_packed, packed_linear, row_starts
from .packing import pack_bitmask, pack_codes, unpack_bitmask, unpack_codes
from .pruning import admm_step_, nm_mask, select_smallest, sweep_block_
from .quantization import dequantize, joint_sweep_block_, quantize, search_grid
from .scheduling import improve_plan, plan_cost

__all__ = [
    "BITS",
    "EXACT_STAGES",
    "HEADER",
    "HEADER_BYTES",
    "INPUTS",
    "MAX_BLOCK_COLS",
    "MAX_STRATUM",
    "NOT_FINITE",
    "TERMS",
    "Layout",
    "add_payload_",
    "admm_step_",
    "check_layout",
    "check_packed",
    "compress_delta_",
    "compress_gradient_",
    "compress_mean_",
    "dequantize",
    "factor_block",
    "improve_plan",
    "index_bits",
    "joint_sweep_block_",
    "low_rank_rows_",
    "nearest_rows",
    "nm_mask",
    "pack_bitmask",
    "pack_codes",
    "packed_bytes",
    "packed_linear",
    "payload_checksum",
    "plan_cost",
    "quantize",
    "row_starts",
    "search_grid",
    "select_smallest",
    "sweep_block_",
    "unpack_bitmask",
    "unpack_codes",
    "waiting_s",
    "weighted_sum_",
]
