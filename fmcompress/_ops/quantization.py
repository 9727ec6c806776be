"""The contracts of grids, codes and the joint sweep."""

import torch
from torch import Tensor

from .checks import check_bits, check_codes, check_floating, check_grid, check_matrix, require
from .pruning import check_sweep_block_

# A grid of 2^bits levels: value = (code - zero) * scale, code in 0 .. 2^bits - 1. The range always holds 0, exactly.
# low = min(0, smallest weight), high = max(0, largest); symmetric: high = max(high, -low), low = -high
# candidate c of `candidates`: shrink = 1 - 0.8 c / candidates;  scale = (high - low) * shrink / (2^bits - 1), 1 where
# that is not positive;  zero = 2^(bits - 1) if symmetric, else rint(min(max(-low * shrink / scale, 0), 2^bits - 1))
# kept: the first candidate of least sum of (dequantized - weight)^2, also where all overflow to infinity; one candidate
# is plain min-max. A sum that is NaN is never kept: a segment with a NaN gets scale 1 and zero 0
torch.library.define(
    "fmcompress::search_grid", "(Tensor weight, int bits, bool symmetric, int candidates) -> (Tensor, Tensor)"
)


def check_search_grid(weight: Tensor, bits: int, symmetric: bool, candidates: int) -> None:
    """Raise ValueError unless the arguments fit the contract."""
    check_matrix("weight", weight)
    check_floating("weight", weight)
    check_bits(bits)
    require(weight.shape[1] >= 1, lambda: "weight: expected at least one column, got 0.")
    require(1 <= candidates <= 1000, lambda: f"candidates: expected 1 to 1000, got {candidates}.")


@torch.library.register_fake("fmcompress::search_grid")
def _(weight: Tensor, bits: int, symmetric: bool, candidates: int) -> tuple[Tensor, Tensor]:
    check_search_grid(weight, bits, symmetric, candidates)
    return weight.new_empty((weight.shape[0],)), weight.new_empty((weight.shape[0],), dtype=torch.uint8)


# codes[s, i] = rint(min(max(weight[s, i] / scale[s], -zero[s]), 2^bits - 1 - zero[s])) + zero[s], rint to nearest even
torch.library.define("fmcompress::quantize", "(Tensor weight, Tensor scale, Tensor zero, int bits) -> Tensor")


def check_quantize(weight: Tensor, scale: Tensor, zero: Tensor, bits: int) -> None:
    """Raise ValueError unless the arguments fit the contract."""
    check_matrix("weight", weight)
    check_floating("weight", weight)
    check_grid(scale, zero, weight.dtype, (weight.shape[0],))
    check_bits(bits)


@torch.library.register_fake("fmcompress::quantize")
def _(weight: Tensor, scale: Tensor, zero: Tensor, bits: int) -> Tensor:
    check_quantize(weight, scale, zero, bits)
    return weight.new_empty(weight.shape, dtype=torch.uint8)


# weight[s, i] = (codes[s, i] - zero[s]) * scale[s]
torch.library.define("fmcompress::dequantize", "(Tensor codes, Tensor scale, Tensor zero) -> Tensor")


def check_dequantize(codes: Tensor, scale: Tensor, zero: Tensor) -> None:
    """Raise ValueError unless the arguments fit the contract."""
    check_codes("codes", codes)
    check_floating("scale", scale)
    check_grid(scale, zero, scale.dtype, (codes.shape[0],))


@torch.library.register_fake("fmcompress::dequantize")
def _(codes: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    check_dequantize(codes, scale, zero)
    return scale.new_empty(codes.shape)


# sweep_block_ in which a kept weight is rounded to its grid, and that error is absorbed as well: for column j
#   level = rint(min(max(weight[r, j] / s, -z), 2^bits - 1 - z)) with s = scale[r, j], z = zero[r, j], or [r, 0] for all
#   q = level * s, code = level + z;  q = 0, code = z where pruned
#   e[r] = (weight[r, j] - q) / factor[j, j];  weight[r, k] -= e[r] * factor[j, k]  for k > j;  weight[r, j] = q
# pruned: as in sweep_block_, or nothing where prune is None and group is 0. Returns loss and codes.
# With a batch in front of every shape each matrix is swept by itself.
torch.library.define(
    "fmcompress::joint_sweep_block_",
    "(Tensor(a!) weight, Tensor factor, Tensor? prune, Tensor scale, Tensor zero, int bits, int keep, int group)"
    " -> (Tensor, Tensor)",
)


def check_joint_sweep_block_(
    weight: Tensor, factor: Tensor, prune: Tensor | None, scale: Tensor, zero: Tensor, bits: int, keep: int, group: int
) -> None:
    """Raise ValueError unless the arguments fit the contract."""
    prunes = prune is not None or group != 0
    check_sweep_block_(weight, factor, prune, *((keep, group) if prunes else (1, 1)))
    check_grid(scale, zero, weight.dtype, (*weight.shape[:-1], 1), tuple(weight.shape))
    check_bits(bits)


@torch.library.register_fake("fmcompress::joint_sweep_block_")
def _(
    weight: Tensor, factor: Tensor, prune: Tensor | None, scale: Tensor, zero: Tensor, bits: int, keep: int, group: int
) -> tuple[Tensor, Tensor]:
    check_joint_sweep_block_(weight, factor, prune, scale, zero, bits, keep, group)
    return weight.new_empty(weight.shape[:-1]), weight.new_empty(weight.shape, dtype=torch.uint8)
