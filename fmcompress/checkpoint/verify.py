"""Reopens a written checkpoint and holds it against its source and the records of the run."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from ..errors import CheckpointError
from .inspect import obeys
from .layout import TensorEntry, dense_name
from .pieces import look, row_pieces
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
    pieces = [piece for record in records for piece in _pieces(written, record)]
    left = {piece.record["tensor"]: piece.record["zeros"] for piece in pieces}
    for piece, (zeros, obeyed, finite) in look(partial(_looked_at, written), pieces, lambda piece: piece.size_bytes):
        record, name = piece.record, piece.record["tensor"]
        left[name] -= zeros
        if piece.is_last and left[name]:
            got = record["zeros"] - left[name]
            raise CheckpointError(f"{folder}: {name}: expected {record['zeros']} zeros, got {got}. Run again.")
        if not obeyed:
            raise CheckpointError(f"{folder}: {name}: a group breaks {record['keep']}:{record['group']}. Run again.")
        if not finite:
            raise CheckpointError(f"{folder}: {name}: holds inf or NaN. Run again.")


@dataclass(frozen=True)
class _Piece:
    """Some rows of a written tensor; all of it, decoded, where `entry` is None."""

    record: Mapping[str, Any]
    entry: TensorEntry | None
    size_bytes: int
    is_last: bool


def _pieces(written: Checkpoint, record: Mapping[str, Any]) -> list[_Piece]:
    entry = written.entry(record["tensor"])
    if type(written) is not Checkpoint or record.get("transposed"):
        return [_Piece(record, None, entry.size_bytes, True)]
    parts = row_pieces(entry)
    return [_Piece(record, part, part.size_bytes, part is parts[-1]) for part in parts]


def _looked_at(written: Checkpoint, piece: _Piece) -> tuple[int, bool, bool]:
    """How many zeros, whether the pattern is obeyed, and whether all is finite."""
    record = piece.record
    tensor = written.read(record["tensor"]) if piece.entry is None else written.read_entry(piece.entry)
    zeros = tensor.numel() - int(torch.count_nonzero(tensor.bool()))  # "!= 0" on half floats takes 15 times as long
    matrix = tensor.T.contiguous() if record.get("transposed") else tensor
    obeyed = not record.get("group") or obeys(matrix, record["keep"], record["group"])
    # inf and NaN show in the sum, which may also have overflowed: then every number is looked at
    return zeros, obeyed, math.isfinite(tensor.sum()) or bool(torch.isfinite(tensor).all())


def _place(entry: TensorEntry, in_place: bool) -> tuple[Any, ...]:
    return entry.dtype, entry.shape, dense_name(entry.path.name), entry.offset if in_place else None
