"""Where every tensor of a safetensors checkpoint lies: parsed strictly, since the bytes may come from a stranger."""

import json
import os
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointError

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
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
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


def read_header(path: Path) -> dict[str, TensorEntry]:
    """The tensors of one safetensors file, by name.

    Raises CheckpointError if the file is missing, truncated or not a well-formed safetensors file.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(size - 8, MAX_HEADER_BYTES):
                raise CheckpointError(f"{path}: not a safetensors file or cut short ({size} bytes). Fetch it again.")
            header = json.loads(file.read(length))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file. Fetch the missing shard.") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}).") from None
    except (ValueError, RecursionError):
        raise CheckpointError(f"{path}: the safetensors header is not valid JSON. Fetch the file again.") from None
    if not isinstance(header, dict):
        raise CheckpointError(f"{path}: the safetensors header is not a JSON object. Fetch the file again.")
    header.pop("__metadata__", None)
    entries = {name: _entry(path, name, fields, 8 + length) for name, fields in header.items()}
    _check_extents(path, list(entries.values()), 8 + length, size)
    return entries


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
            f"{path}: tensor {name!r} has a malformed or unsupported header entry: {fields!r}."
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
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder}: no such folder. Give the folder of a checkpoint with config.json and safetensors."
        )
    index = folder / INDEX
    if not index.exists():
        if not (folder / SINGLE).exists():
            raise CheckpointError(
                f"{folder}: holds neither {SINGLE} nor {INDEX}. Only safetensors checkpoints are read."
            )
        return read_header(folder / SINGLE)
    shards = _read_index(index)
    entries: dict[str, TensorEntry] = {}
    for file_name in sorted(set(shards.values())):
        for name, entry in read_header(folder / file_name).items():
            if shards.get(name) != file_name:
                raise CheckpointError(
                    f"{folder / file_name}: holds tensor {name!r}, which {INDEX} does not place there."
                )
            entries[name] = entry
    absent = sorted(shards.keys() - entries.keys())
    if absent:
        raise CheckpointError(
            f"{index}: names {len(absent)} absent tensor(s), first {absent[0]!r}. Fetch the checkpoint again."
        )
    return entries


def _read_index(index: Path) -> dict[str, str]:
    try:
        shards = json.loads(index.read_text())["weight_map"]
        plain = all(isinstance(file, str) and file == Path(file).name for file in shards.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise CheckpointError(f"{index}: not a safetensors index (no weight_map). Fetch it again.") from None
    if not plain:
        raise CheckpointError(f"{index}: names files outside of the checkpoint's folder.")
    return dict(shards)
