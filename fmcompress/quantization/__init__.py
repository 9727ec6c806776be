"""Quantization methods: functions from a weight and its Hessian to a LayerResult."""

from ..layerwise import Grid, QuantizedWeight
from .gptq import gptq
from .rtn import round_to_nearest

__all__ = ["Grid", "QuantizedWeight", "gptq", "round_to_nearest"]
