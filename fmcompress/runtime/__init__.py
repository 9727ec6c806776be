"""Compressed checkpoints that run: linear layers that read their packed weights."""

from .load import load, replace_linears
from .packed_linear import PackedLinear, PackedWeight
from .semi_structured import to_semi_structured

__all__ = ["PackedLinear", "PackedWeight", "load", "replace_linears", "to_semi_structured"]
