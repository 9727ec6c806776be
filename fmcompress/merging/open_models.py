"""The models of a recipe as checkpoints of dense tensors: plain, packed, quantized, or a patch onto the base."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from .. import patches
from ..checkpoint import Checkpoint, TensorEntry
from ..errors import CheckpointError, ConfigError
from ..formats import open_checkpoint


@dataclass(frozen=True)
class Source:
    """A model of a merge.

    label       as the recipe names it
    checkpoint  whose read() gives dense tensors
    is_patch    whether it stands as changes to the base
    """

    label: str
    checkpoint: Checkpoint
    is_patch: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether tensors stand in the files as they are read, so that parts of them can be."""
        return type(self.checkpoint) is Checkpoint

    @property
    def config(self) -> dict[str, Any] | None:
        """config.json as a dict; None if there is none. Of a patch, which may rely on its base's, if there is one."""
        if not self.is_patch and not (self.checkpoint.folder / "config.json").exists():
            return None
        try:
            return self.checkpoint.config
        except CheckpointError:
            if self.is_patch:
                return None
            raise


def open_models(folders: Sequence[str], base: str | None) -> list[Source]:
    """Open models in order. base is what patches among them were made for.

    Raises CheckpointError or PayloadError for one that is missing or damaged, ConfigError for a patch without a base.
    """
    opened: dict[str, Source] = {}

    def open_once(label: str) -> Source:
        if label not in opened:
            folder = Path(label)
            if not _is_patch(folder):
                opened[label] = Source(label, open_checkpoint(folder))
            elif base is None or label == base:
                raise ConfigError(f"{label}: a patch, which needs the model that it changes. Name that as base_model.")
            else:
                patched = patches.open_patched(folder, open_once(base).checkpoint)  # type: ignore[attr-defined]
                opened[label] = Source(label, patched, is_patch=True)
        return opened[label]

    return [open_once(label) for label in folders]


def _is_patch(folder: Path) -> bool:
    is_patch = getattr(patches, "is_patch", None)
    return is_patch is not None and bool(is_patch(folder))


def dense_bytes(entry: TensorEntry) -> int:
    """Bytes of a tensor as read() gives it."""
    return prod(entry.shape) * entry.dtype.itemsize
