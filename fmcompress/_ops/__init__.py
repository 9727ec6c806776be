"""The contract of every op: formula, schema, checks and fake. Implementations live elsewhere."""

from collections.abc import Callable

from .checks import BITS, VALUE_BYTES
from .cocktail import (
    HEADER,
    HEADER_BYTES,
    INPUTS,
    MAX_STRATUM,
    NOT_FINITE,
    Layout,
    check_add_payload_,
    check_compress_delta_,
    check_compress_gradient_,
    check_compress_mean_,
    check_layout,
    check_payload_checksum,
)
from .factor import check_factor_block
from .low_rank import check_low_rank_rows_, check_nearest_rows
from .merging import check_weighted_sum_
from .packed_linear import check_packed_linear, index_bits
from .packing import check_pack_bitmask, check_pack_codes, check_unpack_bitmask, check_unpack_codes, packed_bytes
from .pruning import MAX_BLOCK_COLS, check_admm_step_, check_nm_mask, check_select_smallest, check_sweep_block_
from .quantization import check_dequantize, check_joint_sweep_block_, check_quantize, check_search_grid
from .scheduling import (
    EXACT_STAGES,
    TERMS,
    check_groups,
    check_improve_plan,
    check_plan_cost,
    waiting_s,
)

__all__ = [
    "BITS",
    "CHECKS",
    "EXACT_STAGES",
    "HEADER",
    "HEADER_BYTES",
    "HOST_ONLY",
    "INPUTS",
    "MAX_BLOCK_COLS",
    "MAX_STRATUM",
    "NOT_FINITE",
    "TERMS",
    "VALUE_BYTES",
    "Layout",
    "check_groups",
    "check_layout",
    "index_bits",
    "packed_bytes",
    "waiting_s",
]

CHECKS: dict[str, Callable[..., None]] = {
    "select_smallest": check_select_smallest,
    "nm_mask": check_nm_mask,
    "sweep_block_": check_sweep_block_,
    "admm_step_": check_admm_step_,
    "search_grid": check_search_grid,
    "quantize": check_quantize,
    "dequantize": check_dequantize,
    "joint_sweep_block_": check_joint_sweep_block_,
    "pack_codes": check_pack_codes,
    "unpack_codes": check_unpack_codes,
    "pack_bitmask": check_pack_bitmask,
    "unpack_bitmask": check_unpack_bitmask,
    "packed_linear": check_packed_linear,
    "compress_gradient_": check_compress_gradient_,
    "compress_delta_": check_compress_delta_,
    "compress_mean_": check_compress_mean_,
    "add_payload_": check_add_payload_,
    "payload_checksum": check_payload_checksum,
    "plan_cost": check_plan_cost,
    "improve_plan": check_improve_plan,
    "low_rank_rows_": check_low_rank_rows_,
    "nearest_rows": check_nearest_rows,
    "weighted_sum_": check_weighted_sum_,
    "factor_block": check_factor_block,
}
HOST_ONLY = frozenset({"plan_cost", "improve_plan", "low_rank_rows_", "nearest_rows"})  # no kernels for GPUs
