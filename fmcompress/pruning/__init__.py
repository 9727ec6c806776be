"""Pruning methods: functions from a weight and its Hessian to a LayerResult."""

from ..layerwise import NM, LayerResult, Pattern, Unstructured, parse_pattern
from .magnitude import magnitude
from .sparsegpt import sparsegpt

__all__ = ["NM", "LayerResult", "Pattern", "Unstructured", "magnitude", "parse_pattern", "sparsegpt"]
