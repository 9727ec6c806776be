"""What the metadata of a file says of its packed tensors: the description of each, parsed strictly (docs/format.md)."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .. import ops
from ..errors import PayloadError
from ..layerwise import MAX_GROUP_COLS, Grid

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
            parts["indices"] = "U8", (self.rows, ops.packed_bytes(self.row_entries, ops.index_bits(self.pattern.group)))
        if self.grid is None:
            parts["values"] = self.dtype, kept
            return parts
        groups = Grid(self.grid.bits, self.grid.group_size).groups(self.cols)
        parts["codes"] = "U8", (*kept[:-1], ops.packed_bytes(kept[-1], self.grid.bits))
        parts["scale"] = self.dtype, (self.rows, groups)
        if not self.grid.symmetric:
            parts["zero"] = "U8", (self.rows, ops.packed_bytes(groups, self.grid.bits))
        return parts


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
