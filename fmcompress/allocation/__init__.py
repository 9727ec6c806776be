"""Layers of unequal sparsity at one global budget: found by outliers or by search, kept in a file that prune reads."""

from .budget import exact_shares, whole_zeros
from .file import Allocation, checked_shares, read_allocation, write_allocation

__all__ = ["Allocation", "checked_shares", "exact_shares", "read_allocation", "whole_zeros", "write_allocation"]
