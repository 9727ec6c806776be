"""Where every tensor of a safetensors checkpoint lies: parsed strictly, since the bytes may come from a stranger."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import torch

from ..errors import CheckpointError, in_one_line

DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
# the entry of a packed checkpoint has a name that transformers does not look for: it would read the parts of a packed
# weight as strangers and go on with random weights in their place
PACKED_INDEX = "packed.safetensors.index.json"
PACKED_SINGLE = "packed.safetensors"
INDICES, SINGLES = (INDEX, PACKED_INDEX), (SINGLE, PACKED_SINGLE)
FACTS = "fmcompress.json"  # what a run of ours did to the weights
MEASURED = "fmcompress-measured.jsonl"  # and what it measured, the one file that differs between equal runs
MERGE_FACTS = "fmcompress-merge.json"  # what they were merged of
CARD = "README.md"
MAX_HEADER_BYTES = 100_000_000


@dataclass(frozen=True)
class TensorEntry:
    """One tensor in a file: `offset` and `size_bytes` count from the file's first byte."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    path: Path
    offset: int
    size_bytes: int


def find_entry(tensors: Mapping[str, TensorEntry], name: str) -> TensorEntry | None:
    """Where a tensor lies, or a slice NAME[INDEX] along the first axis of one, such as an expert; None if nowhere."""
    if name in tensors:
        return tensors[name]
    parsed = re.fullmatch(r"(.*)\[(\d+)\]", name)
    whole = None if parsed is None else tensors.get(parsed[1])
    if parsed is None or whole is None or not whole.shape or int(parsed[2]) >= whole.shape[0]:
        return None
    if whole.size_bytes != prod(whole.shape) * whole.dtype.itemsize:  # packed: not there as such
        return None
    size = whole.size_bytes // whole.shape[0]
    return replace(
        whole, name=name, shape=whole.shape[1:], offset=whole.offset + int(parsed[2]) * size, size_bytes=size
    )


def read_header(path: Path) -> dict[str, TensorEntry]:
    """The tensors of one safetensors file, by name.

    Raises CheckpointError if the file is missing, truncated or not a well-formed safetensors file.
    """
    text, size = read_header_text(path)
    return parse_header(path, text, size)


def read_metadata(path: Path) -> dict[str, str]:
    """The free texts in the header of a safetensors file. Raises CheckpointError as read_header does."""
    metadata = _as_object(path, read_header_text(path)[0]).get("__metadata__") or {}
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise CheckpointError(f"{path}: the safetensors metadata is not a map of texts. Fetch the file again.")
    return metadata


def write_header(
    file: BinaryIO, tensors: Mapping[str, tuple[str, tuple[int, ...], int]], metadata: Mapping[str, str]
) -> list[str]:
    """Write the header of a safetensors file.

    tensors   name -> dtype as in DTYPES, shape, bytes
    returns   names in the order in which their bytes must follow: wide dtypes first, so that all of them are aligned
    """
    order = sorted(tensors, key=lambda name: -DTYPES[tensors[name][0]].itemsize)
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    begin = 0
    for name in order:
        dtype, shape, size = tensors[name]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": (begin, begin + size)}
        begin += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    return order


def read_header_text(path: Path) -> tuple[bytes, int]:
    """The JSON in front of a safetensors file, and the size of the file in bytes."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(size - 8, MAX_HEADER_BYTES):
                raise CheckpointError(f"{path}: not a safetensors file or cut short ({size} bytes). Fetch it again.")
            return file.read(length), size
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file. Fetch the missing shard.") from None
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise CheckpointError(f"{path}: cannot be read ({error}).") from None


def parse_header(path: Path, text: bytes, size: int) -> dict[str, TensorEntry]:
    """The tensors that a header describes in a file of so many bytes, in the header's order."""
    header, begin = _as_object(path, text), 8 + len(text)
    header.pop("__metadata__", None)
    entries = {name: _entry(path, name, fields, begin) for name, fields in header.items()}
    _check_extents(path, list(entries.values()), begin, size)
    return entries


def _as_object(path: Path, text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text.decode())  # json would take UTF-16, too
        if b"\\ud" in text.lower():
            json.dumps(header, ensure_ascii=False).encode()  # half a character: nobody could write or print it
    except (ValueError, RecursionError):
        raise CheckpointError(f"{path}: the safetensors header is not valid JSON. Fetch the file again.") from None
    if not isinstance(header, dict):
        raise CheckpointError(f"{path}: the safetensors header is not a JSON object. Fetch the file again.")
    return header


def _entry(path: Path, name: str, fields: Any, data_begin: int) -> TensorEntry:
    try:
        dtype, shape, (begin, end) = DTYPES[fields["dtype"]], tuple(fields["shape"]), fields["data_offsets"]
        numbers = (*shape, begin, end)
        if not all(type(number) is int and number >= 0 for number in numbers):
            raise ValueError
        if prod(shape) * dtype.itemsize != end - begin or prod(n or 1 for n in shape) >= 1 << 63:
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise CheckpointError(
            f"{path}: tensor {name!r} has a malformed or unsupported header entry: {in_one_line(repr(fields))}."
        ) from None
    return TensorEntry(name, dtype, shape, path, data_begin + begin, end - begin)


def _check_extents(path: Path, entries: list[TensorEntry], begin: int, size: int) -> None:
    """The tensors must fill the file without gaps or overlaps, as the format says."""
    for entry in sorted(entries, key=lambda entry: (entry.offset, entry.size_bytes)):
        if entry.offset != begin:
            raise CheckpointError(f"{path}: tensor {entry.name!r} does not begin where the one before it ends.")
        begin += entry.size_bytes
    if begin != size:
        state = "cut short" if begin > size else "too long"
        raise CheckpointError(f"{path}: {state}: expected {begin} bytes, got {size}. Fetch the file again.")


def read_layout(folder: Path) -> dict[str, TensorEntry]:
    """All tensors of a checkpoint folder, by name, sharded or in one file.

    Raises CheckpointError if the index and the shards disagree or anything does not parse.
    """
    if folder.is_file():
        raise CheckpointError(f"{folder}: a file. Give the folder that it lies in.")
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder}: no such folder. Give the folder of a checkpoint with config.json and safetensors; "
            "download models of a hub first."
        )
    index = entry_file(folder)
    if index.name not in INDICES:
        return read_header(index)
    shards = _read_index(index)
    entries: dict[str, TensorEntry] = {}
    for file_name in sorted(set(shards.values())):
        for name, entry in read_header(folder / file_name).items():
            if shards.get(name) != file_name:
                raise CheckpointError(
                    f"{folder / file_name}: holds tensor {name!r}, which {index.name} does not place there."
                )
            entries[name] = entry
    absent = sorted(shards.keys() - entries.keys())
    if absent:
        raise CheckpointError(
            f"{index}: names {len(absent)} absent tensor(s), first {absent[0]!r}. Fetch the checkpoint again."
        )
    return entries


def entry_file(folder: Path) -> Path:
    """The index of a checkpoint, or its only file. Raises CheckpointError if there is none, or one of either naming."""
    dense, packed = (
        [folder / name for name in names if (folder / name).exists()]
        for names in ((INDEX, SINGLE), (PACKED_INDEX, PACKED_SINGLE))
    )
    if dense and packed:
        raise CheckpointError(
            f"{folder}: expected a dense or a packed checkpoint, got {dense[0].name} beside {packed[0].name}. "
            "Move one of the two elsewhere."
        )
    if not dense and not packed:
        raise CheckpointError(f"{folder}: holds neither {SINGLE} nor {INDEX}. Only safetensors checkpoints are read.")
    return (dense or packed)[0]


def dense_name(file_name: str) -> str:
    """What a file of a packed checkpoint is called in the dense one: shards keep their names, an only file does not."""
    return SINGLE if file_name == PACKED_SINGLE else file_name


def packed_name(file_name: str) -> str:
    """The inverse of dense_name."""
    return PACKED_SINGLE if file_name == SINGLE else file_name


def _read_index(index: Path) -> dict[str, str]:
    try:
        shards = json.loads(index.read_text())["weight_map"]
        plain = all(isinstance(file, str) and file == Path(file).name for file in shards.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise CheckpointError(f"{index}: not a safetensors index (no weight_map). Fetch it again.") from None
    if not plain:
        raise CheckpointError(f"{index}: names files outside of the checkpoint's folder.")
    return dict(shards)
