"""Encoded layers on their way to the shards: one small file a layer, assembled when all of them are there."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from ..checkpoint import Checkpoint, TensorEntry, sync, write_error
from ..checkpoint.layout import (
    DTYPE_NAMES,
    INDEX,
    PACKED_INDEX,
    packed_name,
    read_header,
    read_header_text,
    read_metadata,
    write_header,
)

CHUNK_BYTES = 1 << 24
SOURCE_HEADER, SOURCE_INDEX = "fmcompress.source_header", "fmcompress.source_index"


class LayerStore:
    """What replaces some tensors of a checkpoint, a file each. A layer is durable when write() returns."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, parts: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
        """Keep the named tensors that replace tensor `name`, and texts about it. Raises DiskError if it cannot."""
        sizes = {n: (DTYPE_NAMES[t.dtype], tuple(t.shape), t.numel() * t.itemsize) for n, t in parts.items()}
        try:
            self.folder.mkdir(exist_ok=True)
            with self.path(name).open("wb") as file:
                for part in write_header(file, sizes, metadata):
                    file.write(parts[part].contiguous().view(-1).view(torch.uint8).numpy().data)
            sync(self.path(name))
            sync(self.folder)
        except OSError as error:
            raise write_error(self.folder, error) from None

    def read(self, name: str) -> "Replacement":
        """What was written for a tensor. Raises CheckpointError if nothing was."""
        return Replacement(read_header(self.path(name)), read_metadata(self.path(name)))

    def path(self, name: str) -> Path:
        """The file of a tensor."""
        return self.folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.safetensors"


@dataclass(frozen=True)
class Replacement:
    """Tensors that stand in a file for one tensor, and texts for that file's metadata."""

    parts: Mapping[str, TensorEntry]
    metadata: Mapping[str, str] = field(default_factory=dict)


def write_shards(source: Checkpoint, folder: Path, replaced: Mapping[str, Replacement], *, as_packed: bool) -> None:
    """Write the shards and the index of a checkpoint anew, some tensors replaced by others, the rest byte for byte.

    source     where the untouched tensors are
    folder     exists; files of these names in it are replaced
    replaced   name of a tensor -> what stands for it, in the same shard
    as_packed  put the source's headers and index into the metadata, so that they can be restored to the bit, and name
               the files so that readers of dense weights do not find them
    Raises DiskError if they cannot be written.
    """
    weight_map: dict[str, str] = {}
    total = 0
    for shard in source.shards:
        entries, metadata = dict[str, TensorEntry](), read_metadata(shard)
        if as_packed:
            metadata[SOURCE_HEADER] = read_header_text(shard)[0].decode()
        for name in sorted(source.in_shard(shard), key=lambda name: source.tensors[name].offset):
            if name in replaced:
                entries.update(replaced[name].parts)
                metadata.update(replaced[name].metadata)
            else:
                entries[name] = source.tensors[name]
        file_name = packed_name(shard.name) if as_packed else shard.name
        try:
            _write_shard(folder / file_name, entries, metadata)
        except OSError as error:
            raise write_error(folder / file_name, error) from None
        weight_map.update(dict.fromkeys(entries, file_name))
        total += sum(entry.size_bytes for entry in entries.values())
    if (source.folder / INDEX).exists():
        about: dict[str, Any] = {"total_size": total}
        if as_packed:
            about[SOURCE_INDEX] = (source.folder / INDEX).read_bytes().decode()
        index = folder / (PACKED_INDEX if as_packed else INDEX)
        write_json(index, {"metadata": about, "weight_map": dict(sorted(weight_map.items()))})


def write_json(path: Path, value: Any) -> None:
    """As transformers writes it. Raises DiskError if it cannot."""
    try:
        path.write_text(json.dumps(value, indent=2) + "\n")
        sync(path)
    except OSError as error:
        raise write_error(path, error) from None


def _write_shard(path: Path, entries: Mapping[str, TensorEntry], metadata: Mapping[str, str]) -> None:
    sizes = {name: (DTYPE_NAMES[entry.dtype], entry.shape, entry.size_bytes) for name, entry in entries.items()}
    with path.open("wb") as file:
        for name in write_header(file, sizes, metadata):
            _copy_bytes(entries[name], file)
    sync(path)


def _copy_bytes(entry: TensorEntry, to: BinaryIO) -> None:
    with entry.path.open("rb") as file:
        file.seek(entry.offset)
        left = entry.size_bytes
        while left:
            chunk = file.read(min(left, CHUNK_BYTES))
            if not chunk:
                raise OSError(None, f"{entry.path} ends inside tensor {entry.name!r}")
            to.write(chunk)
            left -= len(chunk)
