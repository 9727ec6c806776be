"""The files of a merged checkpoint before a byte of it is known: the template's shards, their headers first."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch

from ..checkpoint import Checkpoint, TensorEntry
from ..checkpoint.layout import DTYPE_NAMES, dense_name, parse_header, read_header_text, read_metadata, write_header


@dataclass(frozen=True)
class Shard:
    """A file to write.

    name     of the file
    header   its JSON
    entries  name -> TensorEntry, whose path is the file's name
    same     whether the header is the template's, byte for byte
    """

    name: str
    header: bytes
    entries: Mapping[str, TensorEntry]
    same: bool

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return 8 + len(self.header) + sum(entry.size_bytes for entry in self.entries.values())


def lay_out(template: Checkpoint, dtypes: Mapping[str, torch.dtype]) -> list[Shard]:
    """The shards of a checkpoint as the template has them, of these tensors alone and in these dtypes.

    Where nothing is left out or stored otherwise, header and places are the template's to the byte.
    """
    shards = []
    for path in template.shards:
        here = sorted(template.in_shard(path), key=lambda name: template.tensors[name].offset)
        kept = [name for name in here if name in dtypes]
        if kept:
            shards.append(_shard(template, path, kept, dtypes, unchanged=kept == here))
    return shards


def _shard(
    template: Checkpoint, path: Path, kept: Sequence[str], dtypes: Mapping[str, torch.dtype], *, unchanged: bool
) -> Shard:
    sizes = {name: _fields(template.tensors[name], dtypes[name]) for name in kept}
    unchanged = unchanged and all(
        template.tensors[name].dtype == dtypes[name] and template.tensors[name].size_bytes == sizes[name][2]
        for name in kept
    )
    same = unchanged and template.tensors is template.stored
    if same:
        text = read_header_text(path)[0]
    else:
        metadata = {key: value for key, value in read_metadata(path).items() if not key.startswith("fmcompress.")}
        file = io.BytesIO()
        write_header(file, sizes, metadata or {"format": "pt"})
        text = file.getvalue()[8:]
    name = dense_name(path.name)
    entries = parse_header(Path(name), text, 8 + len(text) + sum(size for *_, size in sizes.values()))
    return Shard(name, text, entries, same)


def _fields(entry: TensorEntry, dtype: torch.dtype) -> tuple[str, tuple[int, ...], int]:
    return DTYPE_NAMES[dtype], entry.shape, prod(entry.shape) * dtype.itemsize
