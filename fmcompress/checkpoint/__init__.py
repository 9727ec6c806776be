"""Every reader and writer of tensors."""

from .inspect import TensorFacts, obeys, tensor_facts
from .layout import TensorEntry
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
    "TensorEntry",
    "TensorFacts",
    "companion_files",
    "copy_checkpoint",
    "copy_file",
    "obeys",
    "read_error",
    "require_space",
    "sync",
    "tensor_facts",
    "verify_checkpoint",
    "write_error",
]
