"""Reopens a written checkpoint and holds it against its source and the records of the run."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from ..errors import CheckpointError
from .inspect import obeys
from .layout import TensorEntry, dense_name
from .reader import Checkpoint


def verify_checkpoint(
    source: Checkpoint, written: Checkpoint, records: Iterable[Mapping[str, Any]], *, in_place: bool
) -> None:
    """Check names, dtypes, shapes and shards of all tensors, and the exact zeros and N:M groups of the solved ones.

    written   the checkpoint that was written, opened so that it reads dense tensors
    records   one mapping for each solved tensor: tensor, zeros, and keep and group where the pattern is N:M; transposed
              where it is stored as [cols, rows]
    in_place  whether every tensor must lie where it lies in the source
    Raises CheckpointError naming the first tensor that is not what the run recorded.
    """
    folder = written.folder
    for name in source.tensors.keys() | written.tensors.keys():
        before, after = source.tensors.get(name), written.tensors.get(name)
        if before is None or after is None or _place(before, in_place) != _place(after, in_place):
            raise CheckpointError(f"{folder}: tensor {name!r} is not laid out as in the source. Run again.")
    for record in records:
        name, tensor = record["tensor"], written.read(record["tensor"])
        zeros = int((tensor == 0).sum())
        if zeros != record["zeros"]:
            raise CheckpointError(f"{folder}: {name}: expected {record['zeros']} zeros, got {zeros}. Run again.")
        matrix = tensor.T.contiguous() if record.get("transposed") else tensor
        if record.get("group") and not obeys(matrix, record["keep"], record["group"]):
            raise CheckpointError(f"{folder}: {name}: a group breaks {record['keep']}:{record['group']}. Run again.")
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{folder}: {name}: holds inf or NaN. Run again.")


def _place(entry: TensorEntry, in_place: bool) -> tuple[Any, ...]:
    return entry.dtype, entry.shape, dense_name(entry.path.name), entry.offset if in_place else None
