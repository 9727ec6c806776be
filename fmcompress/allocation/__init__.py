"""Layers of unequal sparsity at one global budget, found by outliers or by search; shares.py keeps them in a file."""

from .budget import exact_shares, whole_zeros

__all__ = ["exact_shares", "whole_zeros"]
