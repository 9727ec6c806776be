"""Reopens a written checkpoint and holds it against its source and the records of the run."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointError
from .inspect import obeys
from .reader import Checkpoint


def verify_checkpoint(source: Checkpoint, folder: Path, records: Iterable[Mapping[str, Any]]) -> Checkpoint:
    """Check names, dtypes, shapes and shards of all tensors, and the exact zeros and N:M groups of the pruned ones.

    records  one mapping for each pruned tensor: tensor, zeros, and keep and group where the pattern is N:M
    Raises CheckpointError naming the first tensor that is not what the run recorded.
    """
    written = Checkpoint(folder)
    for name in source.tensors.keys() | written.tensors.keys():
        before, after = source.tensors.get(name), written.tensors.get(name)
        if before is None or after is None or _place(before) != _place(after):
            raise CheckpointError(f"{folder}: tensor {name!r} is not laid out as in the source. Prune again.")
    for record in records:
        name, tensor = record["tensor"], written.read(record["tensor"])
        zeros = int((tensor == 0).sum())
        if zeros != record["zeros"]:
            raise CheckpointError(f"{folder}: {name}: expected {record['zeros']} zeros, got {zeros}. Prune again.")
        if record.get("group") and not obeys(tensor, record["keep"], record["group"]):
            raise CheckpointError(f"{folder}: {name}: a group breaks {record['keep']}:{record['group']}. Prune again.")
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{folder}: {name}: holds inf or NaN. Prune again.")
    return written


def _place(entry: Any) -> tuple[Any, ...]:
    return entry.dtype, entry.shape, entry.path.name, entry.offset
