"""Public functions over torch.ops.fmcompress: typed, checked; inputs made contiguous here and nowhere else."""

from .._ops import (
    BITS,
    HEADER,
    HEADER_BYTES,
    INPUTS,
    MAX_BLOCK_COLS,
    MAX_STRATUM,
    NOT_FINITE,
    Layout,
    check_layout,
    index_bits,
    packed_bytes,
)
from .cocktail import add_payload_, compress_delta_, compress_gradient_, compress_mean_, payload_checksum
from .packed_linear import check_packed, packed_linear, row_starts
from .packing import pack_bitmask, pack_codes, unpack_bitmask, unpack_codes
from .pruning import admm_step_, nm_mask, select_smallest, sweep_block_
from .quantization import dequantize, joint_sweep_block_, quantize, search_grid

__all__ = [
    "BITS",
    "HEADER",
    "HEADER_BYTES",
    "INPUTS",
    "MAX_BLOCK_COLS",
    "MAX_STRATUM",
    "NOT_FINITE",
    "Layout",
    "add_payload_",
    "admm_step_",
    "check_layout",
    "check_packed",
    "compress_delta_",
    "compress_gradient_",
    "compress_mean_",
    "dequantize",
    "index_bits",
    "joint_sweep_block_",
    "nm_mask",
    "pack_bitmask",
    "pack_codes",
    "packed_bytes",
    "packed_linear",
    "payload_checksum",
    "quantize",
    "row_starts",
    "search_grid",
    "select_smallest",
    "sweep_block_",
    "unpack_bitmask",
    "unpack_codes",
]
