"""The forms in which a compressed checkpoint is written and read."""

from . import compressed_tensors, packed
from .encoded import PackedCheckpoint, QuantizedCheckpoint, Storage, open_as_stored, open_checkpoint, storage_of
from .output import CompressedTensorsOutput, DenseOutput, Output, PackedOutput
from .store import LayerStore

__all__ = [
    "CompressedTensorsOutput",
    "DenseOutput",
    "LayerStore",
    "Output",
    "PackedCheckpoint",
    "PackedOutput",
    "QuantizedCheckpoint",
    "Storage",
    "compressed_tensors",
    "open_as_stored",
    "open_checkpoint",
    "packed",
    "storage_of",
]
