"""A product with a packed weight in plain PyTorch: the weight is decoded, then it is an ordinary product."""

import torch
from torch import Tensor

from .._ops.packed_linear import group_width, index_bits
from .packing import to_bits, unpack_codes


def packed_linear(
    x: Tensor,
    entries: Tensor,
    bitmask: Tensor | None,
    starts: Tensor | None,
    indices: Tensor | None,
    scale: Tensor | None,
    zero: Tensor | None,
    bias: Tensor | None,
    bits: int,
    group_size: int,
    keep: int,
    group: int,
) -> Tensor:
    """See fmcompress.ops.packed_linear."""
    compute = torch.promote_types(x.dtype, torch.float32)
    parts = (entries, bitmask, starts, indices, scale, zero)
    dense = dense_weight(x.shape[1], compute, *parts, bits, group_size, keep, group)
    offset = None if bias is None else bias.to(compute)
    return torch.nn.functional.linear(x.to(compute), dense, offset).to(x.dtype)


def dense_weight(
    cols: int,
    dtype: torch.dtype,
    entries: Tensor,
    bitmask: Tensor | None,
    starts: Tensor | None,
    indices: Tensor | None,
    scale: Tensor | None,
    zero: Tensor | None,
    bits: int,
    group_size: int,
    keep: int,
    group: int,
) -> Tensor:
    """[rows, cols] the weight that the parts of packed_linear stand for, computed in a dtype of its own."""
    mask = _mask(bitmask, indices, keep, group, cols)
    if mask is not None and bitmask is not None:
        assert starts is not None
        entries = _by_rows(entries, starts, mask.sum(1), bits)
    elif bits:
        entries = unpack_codes(entries, bits, cols if mask is None else cols // group * keep)
    dense = entries.to(dtype) if mask is None else _spread(entries.to(dtype), mask)
    if bits:
        assert scale is not None
        of = torch.arange(cols, device=entries.device) // group_width(group_size, cols)  # the group of each column
        middle = torch.full(scale.shape, 1 << (bits - 1), device=entries.device)
        offsets = middle if zero is None else unpack_codes(zero, bits, scale.shape[1])
        dense = (dense - offsets.to(dtype)[:, of]) * scale.to(dtype)[:, of]
        if mask is not None:
            dense = dense.masked_fill(~mask, 0)
    return dense


def _mask(bitmask: Tensor | None, indices: Tensor | None, keep: int, group: int, cols: int) -> Tensor | None:
    """[rows, cols] where there are entries; None for everywhere. Raises ValueError for bits and places out of range."""
    if bitmask is not None:
        bits = to_bits(bitmask).bool()
        if bits[:, cols:].any():
            raise ValueError(f"bitmask: expected no bit after the last of {cols} columns.")
        return bits[:, :cols]
    if indices is None:
        return None
    kept = cols // group * keep
    places = unpack_codes(indices, index_bits(group), kept).long().view(len(indices), cols // group, keep)
    mask = torch.zeros(len(indices), cols // group, group, dtype=torch.bool, device=indices.device)
    if places.numel() and (int(places.max()) >= group or (keep > 1 and not (places.diff(dim=2) > 0).all())):
        raise ValueError("indices: expected ascending places in every group. The file is damaged.")
    return mask.scatter_(2, places, True).view(len(indices), cols)


def _by_rows(entries: Tensor, starts: Tensor, kept: Tensor, bits: int) -> Tensor:
    """All entries in the order of the rows: row r's begin at starts[r]. Raises ValueError if they do not fit."""
    stored = entries.shape[0] * 8 // bits if bits else entries.shape[0]
    if len(starts) and (int(starts.min()) < 0 or bool((starts > stored - kept).any())):
        raise ValueError("starts: do not fit the bitmask and the entries. Count the bits of its rows.")
    flat = unpack_codes(entries.view(1, -1), bits, stored).view(-1) if bits else entries
    row = torch.repeat_interleave(torch.arange(len(starts), device=starts.device), kept)
    inside = torch.arange(len(row), device=starts.device) - (kept.cumsum(0) - kept)[row]
    return flat[starts[row] + inside]


def _spread(entries: Tensor, mask: Tensor) -> Tensor:
    dense = entries.new_zeros(mask.shape)
    dense[mask] = entries.reshape(-1)
    return dense
