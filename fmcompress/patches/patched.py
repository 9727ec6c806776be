"""A base with a patch over it, read as the tuned checkpoint: a tensor at a time, nothing is written."""

import json
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from ..checkpoint import Checkpoint, TensorEntry
from ..checkpoint.layout import DTYPE_NAMES
from ..errors import CheckpointError, PayloadError
from .codec import decode, sha256
from .patch import FILE, FILES, Patch


def open_patched(folder: str | Path, base: Checkpoint) -> "PatchedCheckpoint":
    """The tuned checkpoint that a patch makes of `base`, of any form that open_checkpoint reads.

    Raises CheckpointError or PayloadError if the patch is damaged, or if the base lacks a tensor that it needs. Whether
    a tensor of the base is the right one is known when it is read.
    """
    return PatchedCheckpoint(Patch(folder), base)


class PatchedCheckpoint(Checkpoint):
    """`tensors` are those of the tuned checkpoint, which lie in the patch as far as they lie anywhere; read() decodes.

    folder  the patch's
    stored  name -> TensorEntry of the parts
    """

    def __init__(self, patch: Patch, base: Checkpoint) -> None:
        self.folder, self.patch, self.base = patch.folder, patch, base
        self.stored = patch.stored
        for name, described in patch.tensors.items():
            if described.base is not None:
                self._check_base(name, DTYPE_NAMES[base.entry(name).dtype] if name in base.tensors else None)
        self.tensors = {name: self._entry(name) for name in patch.entries}

    def _check_base(self, name: str, dtype: str | None) -> None:
        described = self.patch.tensors[name].base
        assert described is not None
        shape = self.patch.entries[name].shape
        if dtype is None or dtype != described.dtype or self.base.tensors[name].shape != shape:
            got = "none" if dtype is None else f"{dtype} {list(self.base.tensors[name].shape)}"
            raise CheckpointError(
                f"BASE: {self.base.folder}: tensor {name!r}: expected {described.dtype} {list(shape)}, got {got}. "
                "Give the checkpoint that the patch was made for."
            )

    def _entry(self, name: str) -> TensorEntry:
        """With the bytes that are stored, which are those of a dense tensor only where it lies here as it is."""
        entry, described = self.patch.entries[name], self.patch.tensors[name]
        parts = [self.stored[f"{part}:{name}"] for part in described.parts(entry)]
        offset = min((part.offset for part in parts), default=0)
        size = sum(part.size_bytes for part in parts)
        return TensorEntry(name, entry.dtype, entry.shape, self.folder / FILE, offset, size)

    def companion(self, name: str) -> Path:
        """Where a file lies that stands beside the shards, there or not: in the patch, or beside the base."""
        file = self.patch.about.files.get(name)
        return self.base.folder / name if file is not None and not file.stored else self.folder / FILES / name

    @cached_property
    def config(self) -> dict[str, Any]:
        """config.json as a dict: the patch's own, or the base's."""
        file = self.patch.about.files.get("config.json")
        if file is None or not file.stored:
            return self.base.config
        path = self.companion("config.json")
        try:
            return dict(json.loads(path.read_text()))
        except (OSError, ValueError, TypeError, RecursionError):
            raise CheckpointError(f"{path}: not valid JSON. Fetch the patch again.") from None

    def read(self, name: str) -> Tensor:
        """One tensor, dense.

        Raises CheckpointError if the base's is another one, PayloadError if the patch is damaged.
        """
        described = self.patch.tensors.get(name)
        if described is None:
            return super().read(name)
        start = None
        if described.base is not None:
            start = self.base.read(name)
            if sha256(start) != described.base.sha256:
                raise CheckpointError(
                    f"BASE: {self.base.folder}: tensor {name!r} is not the one that the patch was made for. "
                    "Give the checkpoint that it was made for."
                )
        result = decode(self.patch.entries[name], described, start, self.patch.read_parts(name))
        if sha256(result) != described.sha256:
            raise PayloadError(f"{name}: the result's hash is not the one that the patch tells. Fetch the patch again.")
        return result

    def digest(self) -> str:
        """Of the patch's metadata, which holds a hash of every tensor and of every file beside them."""
        return self.patch.digest
