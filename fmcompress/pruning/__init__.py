"""Pruning methods: functions from a weight and its Hessian to a LayerResult."""

from .factor import all_finite
from .magnitude import magnitude
from .patterns import NM, Pattern, Unstructured, parse_pattern
from .result import LayerResult
from .sparsegpt import sparsegpt

__all__ = ["NM", "LayerResult", "Pattern", "Unstructured", "all_finite", "magnitude", "parse_pattern", "sparsegpt"]
