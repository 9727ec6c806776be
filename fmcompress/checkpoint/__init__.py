"""Every reader and writer of tensors."""

from .ahead import ReadAhead
from .card import append_to_card, note_dense_again
from .inspect import TensorFacts, obeys, tensor_facts
from .layout import TensorEntry
from .new_folder import growing
from .pieces import look, row_pieces
from .reader import Checkpoint
from .verify import verify_checkpoint
from .writer import (
    CheckpointWriter,
    companion_files,
    copy_checkpoint,
    copy_file,
    read_error,
    require_space,
    sync,
    write_error,
)

__all__ = [
    "Checkpoint",
    "CheckpointWriter",
    "ReadAhead",
    "TensorEntry",
    "TensorFacts",
    "append_to_card",
    "companion_files",
    "copy_checkpoint",
    "copy_file",
    "growing",
    "look",
    "note_dense_again",
    "obeys",
    "read_error",
    "require_space",
    "row_pieces",
    "sync",
    "tensor_facts",
    "verify_checkpoint",
    "write_error",
]
