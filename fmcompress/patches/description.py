"""What the metadata of a patch says of its tensors, parsed strictly (docs/patch-format.md)."""

import hashlib
import json
from collections.abc import Mapping
from math import prod
from typing import Literal, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..checkpoint.layout import DTYPE_NAMES, DTYPES, TensorEntry
from ..errors import PayloadError
from ..formats.packed import Description as PackedDescription
from ..formats.packed import parse_description
from .options import PatchOptions

VERSION = 1
VERSION_KEY, ABOUT_KEY, DIGEST_KEY = "fmcompress.patch", "fmcompress.patch.about", "fmcompress.patch.digest"
TENSOR, HEADER = "fmcompress.patch.tensor.", "fmcompress.patch.header."
PACKED = "packed."  # before the names of the parts that docs/format.md specifies
Sha256 = Field(pattern="^[0-9a-f]{64}$")
Kind = Literal["equal", "sparse", "dense", "raw", "quantized", "low-rank"]
Parsed = TypeVar("Parsed", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Loss(_Strict):
    """|got - tuned| / |tuned - base| and / |tuned|, over all entries; 0 where nothing is lost."""

    change: float = Field(ge=0, allow_inf_nan=False)
    weights: float = Field(ge=0, allow_inf_nan=False)


class BaseFields(_Strict):
    """The tensor of the base that one is made from."""

    dtype: str
    sha256: str = Sha256


class TensorDescription(_Strict):
    """How one tensor comes about. `shape` and `dtype` stand in the header of its shard.

    kind     equal: the base's; sparse: some entries of it moved; dense: all; raw: not made from the base;
             quantized, low-rank: a matrix is added to it
    base     none for raw, and for dense where the numbers are counted from 0
    changed  sparse: entries that change, and `places` how they are told
    rank     low-rank: columns of `left` and rows of `right`, of dtype `factors`
    packed   quantized: the description of the matrix, as docs/format.md has it
    loss     none where the result is the tuned tensor to the bit
    """

    kind: Kind
    base: BaseFields | None = None
    sha256: str = Sha256
    changed: int | None = Field(default=None, ge=0, le=1 << 60)
    places: Literal["bitmask", "gaps"] | None = None
    rank: int | None = Field(default=None, ge=1, le=1 << 40)
    factors: Literal["F32", "BF16", "F16"] | None = None
    packed: PackedDescription | None = None
    loss: Loss | None = None
    crc32: dict[str, int]

    def as_json(self) -> str:
        """Without the fields that this kind has not."""
        given = {field: value for field, value in self.model_dump().items() if value is not None}
        return json.dumps(given, separators=(",", ":"))

    def parts(self, entry: TensorEntry) -> dict[str, tuple[str, tuple[int, ...] | None]]:
        """Part -> the dtype and shape that it must have; no shape: a stream, [bytes]."""
        if self.kind == "raw":
            return {"raw": (DTYPE_NAMES[entry.dtype], entry.shape)}
        if self.kind == "dense":
            return {"moves": ("U8", None)}
        if self.kind == "sparse":
            return {str(self.places): ("U8", None), "moves": ("U8", None)}
        if self.kind == "low-rank":
            rows, cols = matrix_shape(entry.shape)
            assert self.rank
            assert self.factors
            return {"left": (self.factors, (rows, self.rank)), "right": (self.factors, (self.rank, cols))}
        if self.kind == "quantized":
            assert self.packed
            return {PACKED + part: fields for part, fields in self.packed.shapes().items()}
        return {}


class FileFields(_Strict):
    """A file beside the shards: in the patch's folder `files`, or the base's of that name."""

    sha256: str = Sha256
    stored: bool


class About(_Strict):
    """What holds for the whole patch.

    files    by path below the folder
    removed  tensors of the base that the tuned checkpoint has not
    loss     over all tensors, null where nothing is lost
    """

    fmcompress: str
    options: PatchOptions
    files: dict[str, FileFields]
    removed: list[str]
    loss: Loss | None


_OPTIONAL: dict[str, set[str]] = {
    "sparse": {"changed", "places"},
    "low-rank": {"rank", "factors"},
    "quantized": {"packed"},
}
SUMMED = (torch.float32, torch.bfloat16, torch.float16)  # dtypes that are converted, and that a matrix is added to


def matrix_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of a tensor as a matrix: its first axis by all others."""
    return (shape[0], prod(shape[1:])) if shape else (1, 1)


def parse(where: str, model: type[Parsed], text: str) -> Parsed:
    """Raises PayloadError if the JSON is not what it should be."""
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(map(str, first["loc"]))
        raise PayloadError(f"{where}: the description's {path or 'JSON'} is wrong: {first['msg']}.") from None


def parse_tensor(entry: TensorEntry, text: str) -> TensorDescription:
    """The description of a tensor that lies in the tuned checkpoint where `entry` says.

    Raises PayloadError if the JSON is not a description, or contradicts itself or the tensor.
    """
    name = entry.name
    described = parse(name, TensorDescription, text)
    _check_fields(name, described)
    _check_base(name, described, entry.dtype)
    size = prod(entry.shape)
    if described.changed is not None and described.changed > size:
        raise PayloadError(f"{name}: the description moves {described.changed} of {size} entries.")
    if described.kind in ("quantized", "low-rank") and entry.dtype not in SUMMED:
        raise PayloadError(f"{name}: expected floats of 2 or 4 bytes to add a matrix to, got {entry.dtype}.")
    if described.packed is not None:
        packed = parse_description(name, described.packed.model_dump_json())
        if (packed.rows, packed.cols) != matrix_shape(entry.shape):
            got = [packed.rows, packed.cols]
            raise PayloadError(f"{name}: expected a matrix of {list(matrix_shape(entry.shape))} to add, got {got}.")
    if described.crc32.keys() != {part for part in described.parts(entry) if not part.startswith(PACKED)}:
        raise PayloadError(f"{name}: the description has checksums of other parts than it should.")
    return described


def _check_fields(name: str, described: TensorDescription) -> None:
    wanted = _OPTIONAL.get(described.kind, set())
    given = {field for field in set[str]().union(*_OPTIONAL.values()) if getattr(described, field) is not None}
    if given != wanted:
        raise PayloadError(
            f"{name}: expected fields {sorted(wanted)} of a {described.kind} tensor, got {sorted(given)}."
        )


def _check_base(name: str, described: TensorDescription, dtype: torch.dtype) -> None:
    base = described.base
    if (base is None) != (described.kind == "raw") and (base is not None or described.kind != "dense"):
        raise PayloadError(f"{name}: a {described.kind} tensor {'without' if base is None else 'with'} a base.")
    if base is not None:
        before = DTYPES.get(base.dtype)
        if before != dtype and not (before in SUMMED and dtype in SUMMED):
            raise PayloadError(f"{name}: nothing of {dtype} is made from a base of {base.dtype!r}.")


def digest(metadata: Mapping[str, str]) -> str:
    """sha256 over all texts of the metadata but itself, in the order of their keys, each as LENGTH:TEXT in UTF-8."""
    sha = hashlib.sha256()
    for key in sorted(metadata.keys() - {DIGEST_KEY}):
        for text in (key.encode(), metadata[key].encode()):
            sha.update(b"%d:" % len(text) + text)
    return sha.hexdigest()
