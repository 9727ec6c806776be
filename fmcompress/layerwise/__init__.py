"""What the methods that solve one layer at a time share: patterns, grids, the factor, the sweep, the result."""

from .captured import CapturedSolves, captured_solves
from .checks import check_grid, check_hessian, check_layer, check_options, check_pattern, check_weight
from .cholesky import FACTOR_COLS
from .factor import all_finite, factor_hessian
from .grid import MAX_GROUP_COLS, Grid, QuantizedWeight, quantize
from .masks import drop_lowest, lowest_scores
from .patterns import NM, Pattern, Unstructured, parse_pattern
from .products import PRODUCTS, Products, split_bytes
from .result import OFF_THE_GRID, Clock, LayerResult, count_zeros, finished, losses, quadratic_form, row_forms
from .rounding import round_kept
from .solver import solve, solve_batch

__all__ = [
    "FACTOR_COLS",
    "MAX_GROUP_COLS",
    "NM",
    "OFF_THE_GRID",
    "PRODUCTS",
    "CapturedSolves",
    "Clock",
    "Grid",
    "LayerResult",
    "Pattern",
    "Products",
    "QuantizedWeight",
    "Unstructured",
    "all_finite",
    "captured_solves",
    "check_grid",
    "check_hessian",
    "check_layer",
    "check_options",
    "check_pattern",
    "check_weight",
    "count_zeros",
    "drop_lowest",
    "factor_hessian",
    "finished",
    "losses",
    "lowest_scores",
    "parse_pattern",
    "quadratic_form",
    "quantize",
    "round_kept",
    "row_forms",
    "solve",
    "solve_batch",
    "split_bytes",
]
