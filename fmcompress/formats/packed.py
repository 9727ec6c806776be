"""The packed format: one bit a weight says which are kept, and the kept ones follow, as values or as codes.

docs/format.md specifies it byte by byte. Bytes may come from a stranger: everything is checked before it is used.
"""

import zlib
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from .. import ops
from ..checkpoint.layout import DTYPE_NAMES, DTYPES
from ..errors import ConfigError, PayloadError, in_one_line
from ..layerwise import NM, Grid, LayerResult, Pattern, QuantizedWeight
from ..memory import require_memory
from .description import (
    PARTS,
    PREFIX,
    VERSION,
    VERSION_KEY,
    Description,
    GridFields,
    NMFields,
    descriptions_of,
    is_packed,
    metadata_of,
    parse_description,
)

__all__ = [
    "PARTS",
    "PREFIX",
    "VERSION",
    "VERSION_KEY",
    "Description",
    "GridFields",
    "NMFields",
    "assemble",
    "checksum",
    "decode",
    "descriptions_of",
    "encode",
    "is_packed",
    "metadata_of",
    "parse_description",
    "read_parts",
]


def encode(result: LayerResult, pattern: Pattern | None) -> tuple[dict[str, Tensor], Description]:
    """The parts of a solved weight and their description, in the smallest of the forms; never loses a bit.

    They are packed where the weight lies, and given back on the CPU.

    Raises ConfigError for a dtype that the format does not know.
    """
    weight, quantized = result.weight, result.quantized
    rows, cols = weight.shape
    if weight.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise ConfigError(f"packed format: expected float32, bfloat16 or float16 weights, got {weight.dtype}.")
    bits = weight.itemsize * 8 if quantized is None else quantized.grid.bits
    entries = weight if quantized is None else quantized.codes
    mask, parts, nm = None, dict[str, Tensor](), None
    if isinstance(pattern, NM) and pattern.keep * ops.index_bits(pattern.group) <= pattern.group:
        nm = NMFields(keep=pattern.keep, group=pattern.group)
        # exactly `keep` of every group, also where more than the others are zero
        mask = ~ops.nm_mask(weight.abs().float(), pattern.keep, pattern.group)
        places = torch.arange(cols, device=weight.device) % pattern.group
        indices = places.to(torch.uint8).expand(rows, cols)[mask].view(rows, nm.stored(cols))
        parts["indices"] = ops.pack_codes(indices, ops.index_bits(pattern.group))
        entries = entries[mask].view(rows, nm.stored(cols))
    elif result.zeros * bits > weight.numel():  # a bit a weight costs less than the zeros
        parts["bitmask"], entries = ops.pack_bitmask(entries, weight != 0, weight.numel() - result.zeros)
    masked = "bitmask" in parts
    if quantized is None:
        parts["values"] = entries
    else:
        packed = ops.pack_codes(entries.view(1, -1) if masked else entries, bits)
        parts["codes"] = packed.view(-1) if masked else packed
        parts["scale"] = quantized.scale
        if not quantized.grid.symmetric:
            parts["zero"] = ops.pack_codes(quantized.zero, bits)
    parts = {name: part.cpu() for name, part in parts.items()}
    grid = None if quantized is None else {name: getattr(quantized.grid, name) for name in GridFields.model_fields}
    fields = {
        "dtype": DTYPE_NAMES[weight.dtype],
        "rows": rows,
        "cols": cols,
        "kept": entries.numel(),
        "pattern": nm,
        "masked": masked,
        "grid": grid,
        "crc32": {name: checksum(part) for name, part in parts.items()},
    }
    return parts, Description.model_validate(fields)


def checksum(part: Tensor) -> int:
    """CRC-32 of the bytes of a tensor as they stand in the file."""
    return zlib.crc32(part.contiguous().view(-1).view(torch.uint8).numpy().data)


def read_parts(
    name: str, described: Description, read: Callable[[str], Tensor], verify: bool = True
) -> dict[str, Tensor]:
    """The parts of a packed weight as they stand in the file. Without `verify` their bytes are not read.

    Raises PayloadError, naming the tensor, if a part has the wrong shape, dtype or checksum.
    """
    parts = {part: read(part) for part in described.shapes()}
    for part, (dtype, shape) in described.shapes().items():
        got = parts[part]
        if got.dtype != DTYPES[dtype] or tuple(got.shape) != shape:
            raise PayloadError(f"{name}: {part}: expected {dtype} {list(shape)}, got {got.dtype} {list(got.shape)}.")
        if verify and checksum(got) != described.crc32[part]:
            raise PayloadError(f"{name}: {part}: wrong checksum. The file is damaged: fetch it again.")
    return parts


def decode(name: str, described: Description, read: Callable[[str], Tensor]) -> Tensor:
    """The dense weight [rows, cols] of which `read` gives the parts.

    Raises PayloadError, naming the tensor, if it is larger than the memory, or if a part has the wrong shape, dtype or
    checksum or does not decode.
    """
    parts = read_parts(name, described, read)
    require_memory(name, described.rows * described.cols * DTYPES[described.dtype].itemsize)
    try:
        return assemble(described, parts)
    except (ValueError, RuntimeError) as error:
        raise PayloadError(f"{name}: does not decode ({in_one_line(error)}).") from None


def assemble(described: Description, parts: Mapping[str, Tensor]) -> Tensor:
    """The dense weight [rows, cols] of parts on the CPU. Raises ValueError if they contradict each other."""
    rows, cols, grid = described.rows, described.cols, described.grid
    if grid is None:
        entries = parts["values"]
    elif described.masked:
        entries = ops.unpack_codes(parts["codes"].view(1, -1), grid.bits, described.kept).view(-1)
    else:
        entries = ops.unpack_codes(parts["codes"], grid.bits, described.row_entries)
    mask = None
    if described.masked:
        dense = ops.unpack_bitmask(parts["bitmask"], entries, cols)
        if grid is not None:
            mask = ops.unpack_bitmask(parts["bitmask"], torch.ones_like(entries), cols).bool()
    elif described.pattern is not None:
        places = _places(described, parts["indices"])
        dense = entries.new_zeros(rows, cols).scatter_(1, places, entries)
        mask = torch.zeros(rows, cols, dtype=torch.bool).scatter_(1, places, True)
    else:
        dense = entries
    if grid is None:
        return dense
    weight = _dequantized(described, parts, dense)
    return weight if mask is None else weight.masked_fill_(~mask, 0.0)


def _places(described: Description, indices: Tensor) -> Tensor:
    """[rows, kept] the columns of the kept weights of an N:M pattern."""
    assert described.pattern is not None
    keep, group, kept = described.pattern.keep, described.pattern.group, described.row_entries
    inside = ops.unpack_codes(indices, ops.index_bits(group), kept).long()
    if not inside.numel():
        return inside
    if int(inside.max()) >= group:
        raise ValueError(f"an index lies outside of its group of {group}")
    if not (inside.view(-1, keep).diff(dim=1) > 0).all():
        raise ValueError("the indices of a group do not ascend")
    return inside + torch.arange(kept) // keep * group


def _dequantized(described: Description, parts: Mapping[str, Tensor], codes: Tensor) -> Tensor:
    fields, scale = described.grid, parts["scale"]
    assert fields is not None
    if not (torch.isfinite(scale).all() and (scale > 0).all()):
        raise ValueError("a scale is not a positive number")
    if fields.symmetric:
        zero = torch.full(scale.shape, 1 << (fields.bits - 1), dtype=torch.uint8)
    else:
        zero = ops.unpack_codes(parts["zero"], fields.bits, scale.shape[1])
    return QuantizedWeight(Grid(**fields.model_dump()), codes, scale, zero).dequantized(DTYPES[described.dtype])
