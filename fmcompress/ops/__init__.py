"""Public functions over torch.ops.fmcompress: typed, checked; inputs made contiguous here and nowhere else."""

from .._ops import BITS, MAX_BLOCK_COLS, index_bits, packed_bytes
from .packed_linear import check_packed, packed_linear, row_starts
from .packing import pack_bitmask, pack_codes, unpack_bitmask, unpack_codes
from .pruning import nm_mask, select_smallest, sweep_block_
from .quantization import dequantize, joint_sweep_block_, quantize, search_grid

__all__ = [
    "BITS",
    "MAX_BLOCK_COLS",
    "check_packed",
    "dequantize",
    "index_bits",
    "joint_sweep_block_",
    "nm_mask",
    "pack_bitmask",
    "pack_codes",
    "packed_bytes",
    "packed_linear",
    "quantize",
    "row_starts",
    "search_grid",
    "select_smallest",
    "sweep_block_",
    "unpack_bitmask",
    "unpack_codes",
]
