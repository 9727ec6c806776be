"""Pruning methods: functions from a weight and its Hessian to a LayerResult."""

from .magnitude import magnitude
from .patterns import NM, Pattern, Unstructured, parse_pattern
from .result import LayerResult
from .sparsegpt import sparsegpt

__all__ = ["NM", "LayerResult", "Pattern", "Unstructured", "magnitude", "parse_pattern", "sparsegpt"]
