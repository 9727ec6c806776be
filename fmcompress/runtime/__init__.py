"""Compressed checkpoints that run: linear layers that read their packed weights."""

from .load import load, replace_linears
from .packed_linear import PackedLinear, PackedWeight

__all__ = ["PackedLinear", "PackedWeight", "load", "replace_linears"]
