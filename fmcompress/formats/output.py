"""Where a run writes: the three forms of a finished checkpoint behind one face."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from ..checkpoint import (
    Checkpoint,
    CheckpointWriter,
    companion_files,
    copy_checkpoint,
    copy_file,
    require_space,
    sync,
    verify_checkpoint,
    write_error,
)
from ..checkpoint.layout import INDICES
from ..errors import CheckpointError
from ..layerwise import Grid, LayerResult, Pattern
from . import compressed_tensors, packed
from .encoded import open_checkpoint
from .store import LayerStore, Replacement, write_json, write_shards

Records = Iterable[Mapping[str, Any]]


class Output(Protocol):
    """A checkpoint that grows in a folder. Whatever it raises is a CheckpointError."""

    def begin(self) -> None:
        """Put into the folder what stands there from the start."""

    def confirm(self, records: Records) -> None:
        """Before an earlier run is gone on with: everything that its records name must be there."""

    def write(self, name: str, result: LayerResult) -> None:
        """Take a solved tensor; durable after flush()."""

    def flush(self) -> None:
        """Make everything written so far survive a power cut."""

    def read(self, name: str) -> Tensor:
        """A tensor as it will be read from the finished checkpoint, dense."""

    def finish(self, records: Records) -> None:
        """Complete the folder, reopen it and hold it against the run's records. A kill may repeat it."""


class DenseOutput:
    """A byte-for-byte copy in which solved tensors are written at their place.

    solved  the tensors that will be solved, which need not be copied before
    """

    def __init__(self, source: Checkpoint, folder: Path, solved: Iterable[str] = ()) -> None:
        self.source, self.folder, self.solved = source, folder, list(solved)
        self._writer: CheckpointWriter | None = None

    def begin(self) -> None:
        """See Output."""
        copy_checkpoint(self.source, self.folder, self.solved)

    def confirm(self, records: Records) -> None:
        """See Output. Opening the writer finds what is missing."""

    @property
    def writer(self) -> CheckpointWriter:
        """Opened when the copy is there."""
        if self._writer is None:
            self._writer = CheckpointWriter(self.folder)
        return self._writer

    def write(self, name: str, result: LayerResult) -> None:
        """See Output."""
        self.writer.write(name, result.weight)

    def flush(self) -> None:
        """See Output."""
        self.writer.flush()

    def read(self, name: str) -> Tensor:
        """See Output."""
        return Checkpoint.read_entry(self.writer.tensors[name])

    def finish(self, records: Records) -> None:
        """See Output."""
        verify_checkpoint(self.source, Checkpoint(self.folder), records, in_place=True)


class EncodedOutput:
    """Solved tensors in another form: kept a file each until all are there, then assembled into shards.

    store   where they are kept
    needed  bytes that the disk must have left
    """

    as_packed = False  # see write_shards

    def __init__(self, source: Checkpoint, folder: Path, store: LayerStore, needed: int) -> None:
        self.source, self.folder, self.store, self.needed = source, folder, store, needed

    def begin(self) -> None:
        """See Output."""
        require_space(self.folder.parent, self.needed)
        try:
            self.folder.mkdir()
        except OSError as error:
            raise write_error(self.folder, error) from None

    def confirm(self, records: Records) -> None:
        """See Output. read() would take an unsolved weight where a file is gone."""
        for record in records:
            if not self.store.path(record["tensor"]).exists():
                raise CheckpointError(
                    f"{record['tensor']}: it was solved, but {self.store.path(record['tensor'])} is gone. "
                    "Use --force to start anew."
                )

    def encode(self, name: str, result: LayerResult) -> tuple[dict[str, Tensor], dict[str, str]]:
        """The tensors that stand for a solved one, and texts for the metadata of their file."""
        raise NotImplementedError

    def decode(self, name: str, stored: Replacement) -> Tensor:
        """The dense tensor again."""
        raise NotImplementedError

    def write(self, name: str, result: LayerResult) -> None:
        """See Output."""
        self.store.write(name, *self.encode(name, result))

    def flush(self) -> None:
        """See Output. Each file is durable already."""

    def read(self, name: str) -> Tensor:
        """See Output."""
        if not self.store.path(name).exists():
            return self.source.read(name)
        return self.decode(name, self.store.read(name))

    def finish(self, records: Records) -> None:
        """See Output."""
        replaced = {record["tensor"]: self.store.read(record["tensor"]) for record in records}
        write_shards(self.source, self.folder, replaced, as_packed=self.as_packed)
        for path in companion_files(self.source):
            within = path.relative_to(self.source.folder)
            if str(within) not in INDICES:
                copy_file(path, self.folder / within)
        self.change_config()
        sync(self.folder)
        verify_checkpoint(self.source, open_checkpoint(self.folder), records, in_place=False)

    def change_config(self) -> None:
        """Let config.json tell about the form, where its readers look for that."""


class PackedOutput(EncodedOutput):
    """This project's packed format (docs/format.md)."""

    as_packed = True

    def __init__(
        self, source: Checkpoint, folder: Path, store: LayerStore, needed: int, pattern: Pattern | None
    ) -> None:
        super().__init__(source, folder, store, needed)
        self.pattern = pattern

    def encode(self, name: str, result: LayerResult) -> tuple[dict[str, Tensor], dict[str, str]]:
        """See EncodedOutput."""
        parts, described = packed.encode(result, self.pattern)
        return {f"{name}.{part}": tensor for part, tensor in parts.items()}, packed.metadata_of({name: described})

    def decode(self, name: str, stored: Replacement) -> Tensor:
        """See EncodedOutput."""
        described = packed.descriptions_of(name, dict(stored.metadata))[name]
        return packed.decode(name, described, lambda part: Checkpoint.read_entry(stored.parts[f"{name}.{part}"]))


class CompressedTensorsOutput(EncodedOutput):
    """The pack-quantized format of the compressed-tensors library.

    targets, ignore  of its quantization_config
    """

    def __init__(
        self,
        source: Checkpoint,
        folder: Path,
        store: LayerStore,
        needed: int,
        grid: Grid,
        targets: list[str],
        ignore: list[str],
    ) -> None:
        super().__init__(source, folder, store, needed)
        self.grid, self.targets, self.ignore = grid, targets, ignore

    def encode(self, name: str, result: LayerResult) -> tuple[dict[str, Tensor], dict[str, str]]:
        """See EncodedOutput."""
        base = name.removesuffix("weight")
        return {base + part: tensor for part, tensor in compressed_tensors.encode(result).items()}, {}

    def decode(self, name: str, stored: Replacement) -> Tensor:
        """See EncodedOutput."""
        base = name.removesuffix("weight")
        return compressed_tensors.decode(name, self.grid, lambda part: Checkpoint.read_entry(stored.parts[base + part]))

    def change_config(self) -> None:
        """See EncodedOutput."""
        described = compressed_tensors.config_of(self.grid, self.targets, self.ignore)
        write_json(self.folder / "config.json", {**self.source.config, "quantization_config": described})
