"""The models of a recipe as checkpoints of dense tensors: plain, packed, quantized, or a patch onto the base."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from ..checkpoint import Checkpoint, TensorEntry
from ..errors import ConfigError, FmcompressError
from ..formats import open_checkpoint
from ..patches.patch import is_patch
from ..patches.patched import PatchedCheckpoint, open_patched


@dataclass(frozen=True)
class Source:
    """A model of a merge.

    label       as the recipe names it
    checkpoint  whose read() gives dense tensors
    """

    label: str
    checkpoint: Checkpoint

    @property
    def is_patch(self) -> bool:
        """Whether it stands as changes to the base."""
        return isinstance(self.checkpoint, PatchedCheckpoint)

    @property
    def is_plain(self) -> bool:
        """Whether tensors stand in the files as they are read, so that parts of them can be."""
        return type(self.checkpoint) is Checkpoint

    @property
    def config(self) -> dict[str, Any] | None:
        """config.json as a dict; None if there is none."""
        return self.checkpoint.config if self.companion("config.json").exists() else None

    def companion(self, name: str) -> Path:
        """Where a file beside its tensors lies, if there is one; of a patch perhaps beside the base."""
        one = self.checkpoint
        return one.companion(name) if isinstance(one, PatchedCheckpoint) else one.folder / name


def open_models(folders: Sequence[str], base: str | None) -> list[Source]:
    """Open models in order. base is what patches among them were made for.

    Raises CheckpointError or PayloadError for one that is missing or damaged, ConfigError for a patch without a base.
    """
    opened: dict[str, Source] = {}

    def open_once(label: str) -> Source:
        if label not in opened:
            folder = Path(label)
            if not is_patch(folder):
                opened[label] = Source(label, open_checkpoint(folder))
            elif base is None or label == base:
                raise ConfigError(f"{label}: a patch, which needs the model that it changes. Name that as base_model.")
            else:
                onto = open_once(base).checkpoint
                with named(label):
                    opened[label] = Source(label, open_patched(folder, onto))
        return opened[label]

    return [open_once(label) for label in folders]


@contextlib.contextmanager
def named(label: str) -> Iterator[None]:
    """Let an error name the model: what a patch says of its base does not tell which of several patches it is."""
    try:
        yield
    except FmcompressError as error:
        if label in str(error):
            raise
        raise type(error)(f"{label}: {error}") from None


def dense_bytes(entry: TensorEntry) -> int:
    """Bytes of a tensor as read() gives it."""
    return prod(entry.shape) * entry.dtype.itemsize
