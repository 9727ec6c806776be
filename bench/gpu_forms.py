"""Random weights in every packed form, made on the device where they are measured."""

from typing import Any

import torch
from torch import Tensor

from fmcompress import ops
from fmcompress.checkpoint.layout import DTYPE_NAMES
from fmcompress.formats.description import Description, GridFields, NMFields
from fmcompress.runtime import PackedLinear, PackedWeight

# sparsity: a share, or 2 for 2:4; bits: 0 for values
FORMS = {
    "8 bits": (0.0, 8),
    "4 bits": (0.0, 4),
    "3 bits": (0.0, 3),
    "2 bits": (0.0, 2),
    "50 %": (0.5, 0),
    "70 %": (0.7, 0),
    "2:4": (2, 0),
    "50 % + 8 bits": (0.5, 8),
    "50 % + 4 bits": (0.5, 4),
    "2:4 + 4 bits": (2, 4),
}
GROUP = 128
Parts = dict[str, Any]


def packed(weight: Tensor, sparsity: float, bits: int) -> tuple[Tensor, Parts]:
    """The dense weight that the parts of a form stand for, and the parts as ops.packed_linear takes them."""
    rows, cols = weight.shape
    parts: Parts = {}
    kept = torch.ones_like(weight, dtype=torch.bool)
    if sparsity == 2:
        kept = ~ops.nm_mask(weight.float().abs(), 2, 4)
        places = kept.view(rows, -1, 4).nonzero()[:, 2].to(torch.uint8).view(rows, cols // 2)
        parts |= {"indices": ops.pack_codes(places, 2), "keep": 2, "group": 4}
    elif sparsity:
        kept = torch.rand(rows, cols, device=weight.device) >= sparsity
        parts["bitmask"] = ops.pack_bitmask(weight, kept)[0]
        parts["starts"] = ops.row_starts(parts["bitmask"])
    shape = (1, -1) if "bitmask" in parts else (rows, -1)
    if not bits:
        values = weight[kept].view(shape)
        return weight * kept, parts | {"entries": values[0].contiguous() if "bitmask" in parts else values}
    group = min(GROUP, cols)
    scale, zero = ops.search_grid(weight.float().view(-1, group), bits, symmetric=True, candidates=1)
    scale = scale.to(weight.dtype)
    codes = ops.quantize(weight.float().view(-1, group), scale.float(), zero, bits)
    dense = ops.dequantize(codes, scale.float(), zero).view(rows, cols).to(weight.dtype) * kept
    entries = ops.pack_codes(codes.view(rows, cols)[kept].view(shape), bits)
    parts |= {"bits": bits, "group_size": group, "scale": scale.view(rows, -1)}
    return dense, parts | {"entries": entries[0].contiguous() if "bitmask" in parts else entries}


def packed_layer(weight: Tensor, sparsity: float, bits: int) -> PackedLinear:
    """A layer with such a weight."""
    _, parts = packed(weight, sparsity, bits)
    rows, cols = weight.shape
    stored = {name: parts[name] for name in ("bitmask", "indices", "scale") if name in parts}
    stored["codes" if bits else "values"] = parts["entries"]
    kept = rows * cols
    if sparsity == 2:
        kept //= 2
    elif sparsity:
        kept = int(parts["starts"][-1] + _bits_of(parts["bitmask"][-1]))
    described = Description(
        dtype=DTYPE_NAMES[weight.dtype],
        rows=rows,
        cols=cols,
        kept=kept,
        pattern=NMFields(keep=2, group=4) if sparsity == 2 else None,
        masked="bitmask" in parts,
        grid=GridFields(bits=bits, group_size=parts["group_size"], symmetric=True) if bits else None,
        crc32={},  # nothing reads them here
    )
    return PackedLinear(PackedWeight(described, stored))


def _bits_of(mask: Tensor) -> Tensor:
    """How many bits of some bytes are set."""
    return (mask[:, None] >> torch.arange(8, device=mask.device, dtype=torch.uint8) & 1).sum()


def size_of(parts: Parts) -> int:
    """Bytes of all tensors."""
    return sum(part.nbytes for part in parts.values() if isinstance(part, Tensor))


def copied(parts: Parts) -> Parts:
    """The same in memory of its own."""
    return {name: part.clone() if isinstance(part, Tensor) else part for name, part in parts.items()}
