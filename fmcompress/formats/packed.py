"""The packed format: one bit a weight says which are kept, and the kept ones follow, as values or as codes.

docs/format.md specifies it byte by byte. Bytes may come from a stranger: everything is checked before it is used.
"""

import zlib
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from .. import ops
from ..checkpoint.layout import DTYPE_NAMES, DTYPES
from ..errors import ConfigError, PayloadError, in_one_line
from ..layerwise import MAX_GROUP_COLS, NM, Grid, LayerResult, Pattern, QuantizedWeight
from ..memory import require_memory

VERSION, VERSION_KEY = 1, "fmcompress.packed"  # in the metadata of every file that holds packed tensors
PARTS = ("bitmask", "indices", "values", "codes", "scale", "zero")
PREFIX = "fmcompress.tensor."  # before the name of a packed tensor: its description as JSON


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class GridFields(_Strict):
    """How codes are to be read."""

    bits: Literal[2, 3, 4, 8]
    group_size: int | None = Field(ge=1, le=MAX_GROUP_COLS)
    symmetric: bool


class NMFields(_Strict):
    """keep of every group neighbours are kept."""

    keep: int = Field(ge=1, le=128)
    group: int = Field(ge=1, le=128)

    def stored(self, cols: int) -> int:
        """Weights that are kept of a row of `cols`."""
        return cols // self.group * self.keep


class Description(_Strict):
    """What the parts of one packed tensor are."""

    dtype: Literal["F32", "BF16", "F16"]
    rows: int = Field(ge=0, le=1 << 40)
    cols: int = Field(ge=0, le=1 << 40)
    kept: int = Field(ge=0, le=1 << 60)
    pattern: NMFields | None
    masked: bool
    grid: GridFields | None
    crc32: dict[str, int]

    @property
    def row_entries(self) -> int:
        """Weights that are stored of every row, where no bitmask says which."""
        return self.cols if self.pattern is None else self.pattern.stored(self.cols)

    def shapes(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Part -> dtype and shape that it must have."""
        parts: dict[str, tuple[str, tuple[int, ...]]] = {}
        kept: tuple[int, ...] = (self.kept,) if self.masked else (self.rows, self.row_entries)
        if self.masked:
            parts["bitmask"] = "U8", (self.rows, (self.cols + 7) // 8)
        if self.pattern is not None:
            parts["indices"] = "U8", (self.rows, ops.packed_bytes(self.row_entries, index_bits(self.pattern.group)))
        if self.grid is None:
            parts["values"] = self.dtype, kept
            return parts
        groups = Grid(self.grid.bits, self.grid.group_size).groups(self.cols)
        parts["codes"] = "U8", (*kept[:-1], ops.packed_bytes(kept[-1], self.grid.bits))
        parts["scale"] = self.dtype, (self.rows, groups)
        if not self.grid.symmetric:
            parts["zero"] = "U8", (self.rows, ops.packed_bytes(groups, self.grid.bits))
        return parts


def index_bits(group: int) -> int:
    """Bits of a place inside a group of N:M: the smallest width of a code that holds them all."""
    return next(bits for bits in ops.BITS if 1 << bits >= group)


def encode(result: LayerResult, pattern: Pattern | None) -> tuple[dict[str, Tensor], Description]:
    """The parts of a solved weight and their description, in the smallest of the forms; never loses a bit.

    Raises ConfigError for a dtype that the format does not know.
    """
    weight, quantized = result.weight.cpu(), result.quantized
    rows, cols = weight.shape
    if weight.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise ConfigError(f"packed format: expected float32, bfloat16 or float16 weights, got {weight.dtype}.")
    bits = weight.itemsize * 8 if quantized is None else quantized.grid.bits
    entries = weight if quantized is None else quantized.codes.cpu()
    mask, parts, nm = None, dict[str, Tensor](), None
    if isinstance(pattern, NM) and pattern.keep * index_bits(pattern.group) <= pattern.group:
        nm = NMFields(keep=pattern.keep, group=pattern.group)
        # exactly `keep` of every group, also where more than the others are zero
        mask = ~ops.nm_mask(weight.abs().float(), pattern.keep, pattern.group)
        places = torch.arange(cols) % pattern.group
        indices = places.to(torch.uint8).expand(rows, cols)[mask].view(rows, nm.stored(cols))
        parts["indices"] = ops.pack_codes(indices, index_bits(pattern.group))
        entries = entries[mask].view(rows, nm.stored(cols))
    elif result.zeros * bits > weight.numel():  # a bit a weight costs less than the zeros
        parts["bitmask"], entries = ops.pack_bitmask(entries, weight != 0, weight.numel() - result.zeros)
    masked = "bitmask" in parts
    if quantized is None:
        parts["values"] = entries
    else:
        packed = ops.pack_codes(entries.view(1, -1) if masked else entries, bits)
        parts["codes"] = packed.view(-1) if masked else packed
        parts["scale"] = quantized.scale.cpu()
        if not quantized.grid.symmetric:
            parts["zero"] = ops.pack_codes(quantized.zero.cpu(), bits)
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


def parse_description(name: str, text: str) -> Description:
    """Raises PayloadError if the JSON is not a description, or contradicts itself."""
    try:
        described = Description.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise PayloadError(f"{name}: the description's {where or 'JSON'} is wrong: {first['msg']}.") from None
    pattern = described.pattern
    if pattern is not None and (described.masked or pattern.keep > pattern.group or described.cols % pattern.group):
        raise PayloadError(f"{name}: the description's pattern does not fit the weight.")
    dense = described.rows * described.row_entries
    if described.kept > dense or (not described.masked and described.kept != dense):
        raise PayloadError(f"{name}: the description keeps {described.kept} of {dense} weights.")
    if described.crc32.keys() != described.shapes().keys():
        raise PayloadError(f"{name}: the description has checksums of other parts than it should.")
    return described


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
    inside = ops.unpack_codes(indices, index_bits(group), kept).long()
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


def metadata_of(descriptions: dict[str, Description]) -> dict[str, str]:
    """What goes into the metadata of a safetensors file that holds these tensors."""
    return {VERSION_KEY: str(VERSION), **{PREFIX + name: d.model_dump_json() for name, d in descriptions.items()}}


def is_packed(metadata: dict[str, str]) -> bool:
    """Whether the metadata of a file says that it holds packed tensors, of whatever version."""
    return VERSION_KEY in metadata or any(key.startswith(PREFIX) for key in metadata)


def descriptions_of(where: Any, metadata: dict[str, str]) -> dict[str, Description]:
    """Packed tensor -> its description, from the metadata of a file.

    Raises PayloadError for another version or a description that is not one.
    """
    if not is_packed(metadata):
        return {}
    if (version := metadata.get(VERSION_KEY)) != str(VERSION):
        remedy = "The file is damaged: fetch it again." if version is None else "Update fmcompress."
        raise PayloadError(f"{where}: packed format version {version}, known is {VERSION}. {remedy}")
    found = {key.removeprefix(PREFIX): text for key, text in metadata.items() if key.startswith(PREFIX)}
    return {name: parse_description(name, text) for name, text in found.items()}
