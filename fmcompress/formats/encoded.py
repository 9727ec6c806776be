"""Checkpoints whose weights are packed or quantized, read as if they were dense."""

from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from ..checkpoint import Checkpoint, TensorEntry
from ..checkpoint.layout import DTYPES, PACKED_INDEX, PACKED_SINGLE, entry_file, read_metadata
from ..errors import FmcompressError, PayloadError
from ..layerwise import Grid
from . import compressed_tensors, packed


@dataclass(frozen=True)
class Storage:
    """How a tensor stands in the files.

    format      dense, packed or compressed-tensors
    kept        packed only: "bitmask" or the N:M whose places are stored, null where every weight is
    bits        of a code, null where the values themselves are stored; so are group_size ("row" for a whole one) and
                symmetric
    """

    format: str
    kept: str | None = None
    bits: int | None = None
    group_size: int | str | None = None
    symmetric: bool | None = None

    def __str__(self) -> str:
        if self.format == "dense":
            return ""
        size = None if self.group_size == "row" else self.group_size
        assert not isinstance(size, str)
        grid = [] if self.bits is None else [str(Grid(self.bits, size, bool(self.symmetric)))]
        return ", ".join([self.format, *grid, *([self.kept] if self.kept else [])])


def storage_of(checkpoint: Checkpoint, name: str) -> Storage:
    """How one tensor of a checkpoint is stored."""
    if isinstance(checkpoint, PackedCheckpoint) and name in checkpoint.descriptions:
        described = checkpoint.descriptions[name]
        pattern = described.pattern
        kept = "bitmask" if described.masked else None if pattern is None else f"{pattern.keep}:{pattern.group} places"
        grid = described.grid
        return Storage("packed", kept) if grid is None else Storage("packed", kept, *_levels(grid))
    if isinstance(checkpoint, QuantizedCheckpoint) and checkpoint.is_quantized(name):
        return Storage("compressed-tensors", None, *_levels(checkpoint.grid))
    return Storage("dense")


def _levels(grid: Grid | packed.GridFields) -> tuple[int, int | str, bool]:
    return grid.bits, grid.group_size or "row", grid.symmetric


class PackedCheckpoint(Checkpoint):
    """A checkpoint in this project's packed format. `tensors` are the dense ones; read() decodes.

    stored  name -> TensorEntry of everything that stands in the files
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__(folder)
        self.stored = self.tensors
        self.descriptions: dict[str, packed.Description] = {}
        parts = set[str]()
        for shard in self.shards:
            found = packed.descriptions_of(shard, read_metadata(shard))
            twice = sorted(found.keys() & self.descriptions.keys())
            if twice:
                raise PayloadError(f"{shard}: describes tensor {twice[0]!r}, which another shard describes, too.")
            here = [f"{name}.{part}" for name, described in found.items() for part in described.shapes()]
            for part in here:
                if part not in self.stored or self.stored[part].path != shard:
                    raise PayloadError(f"{shard}: holds no tensor {part!r}, which its metadata describes.")
            self.descriptions.update(found)
            parts.update(here)
        _refuse_twins(self.folder, self.descriptions.keys() & self.stored.keys())
        dense = {name: self._dense_entry(name) for name in self.descriptions}
        self.tensors = {**{n: entry for n, entry in self.stored.items() if n not in parts}, **dense}

    def _dense_entry(self, name: str) -> TensorEntry:
        described = self.descriptions[name]
        stored = [self.stored[f"{name}.{part}"] for part in described.shapes()]
        size = sum(entry.size_bytes for entry in stored)
        return TensorEntry(
            name, DTYPES[described.dtype], (described.rows, described.cols), stored[0].path, stored[0].offset, size
        )

    def read(self, name: str) -> Tensor:
        """One tensor, dense. Raises PayloadError if it does not decode, CheckpointError as Checkpoint does."""
        described = self.descriptions.get(name)
        if described is None:
            return super().read(name)
        return packed.decode(name, described, lambda part: self._read_stored(f"{name}.{part}"))

    def _read_stored(self, name: str) -> Tensor:
        return self.read_entry(self.stored[name])


class QuantizedCheckpoint(Checkpoint):
    """A checkpoint in the pack-quantized format of compressed-tensors. `tensors` are the dense ones; read() decodes."""

    def __init__(self, folder: str | Path, grid: Grid) -> None:
        super().__init__(folder)
        self.grid, self.stored = grid, self.tensors
        self._packed = compressed_tensors.packed_names(list(self.stored))
        parts = {name + suffix for name in self._packed for suffix in compressed_tensors.SUFFIXES}
        _refuse_twins(self.folder, self._packed.keys() & self.stored.keys())
        dense = {name: self._dense_entry(name) for name in self._packed}
        self.tensors = {**{n: entry for n, entry in self.stored.items() if n not in parts}, **dense}

    def _dense_entry(self, name: str) -> TensorEntry:
        packed_entry, scale = self.stored[f"{name}_packed"], self.stored.get(f"{name}_scale")
        if scale is None or f"{name}_shape" not in self.stored:
            raise PayloadError(f"{self.folder}: {name} is packed without its scale or shape.")
        shape = compressed_tensors.shape_of(name, self.read_entry(self.stored[f"{name}_shape"]))
        names = (name + suffix for suffix in compressed_tensors.SUFFIXES)
        size = sum(self.stored[part].size_bytes for part in names if part in self.stored)
        return replace(packed_entry, name=name, dtype=scale.dtype, shape=shape, size_bytes=size)

    def is_quantized(self, name: str) -> bool:
        """Whether a tensor is stored as codes."""
        return name in self._packed

    def read(self, name: str) -> Tensor:
        """One tensor, dense. Raises PayloadError if it does not decode, CheckpointError as Checkpoint does."""
        if name not in self._packed:
            return super().read(name)
        return compressed_tensors.decode(name, self.grid, lambda part: self.read_entry(self.part(name, part)))

    def is_packed(self, name: str) -> bool:
        """Whether a tensor stands in the files as integers."""
        return name in self._packed

    def part(self, name: str, part: str) -> TensorEntry:
        """Where a part of a packed tensor lies, by its suffix, e.g. "weight_scale". Raises PayloadError if nowhere."""
        full = name.removesuffix("weight") + part
        if full not in self.stored:
            raise PayloadError(f"{name}: its {full} is missing.")
        return self.stored[full]


def _refuse_twins(folder: Path, names: set[str]) -> None:
    if names:
        raise PayloadError(f"{folder}: holds tensor {min(names)!r} both packed and dense.")


def open_checkpoint(folder: str | Path) -> Checkpoint:
    """A checkpoint in whichever of the three forms it is written: dense, packed, or compressed-tensors.

    Raises CheckpointError or PayloadError if it is damaged or in a form that is not read here.
    """
    plain = Checkpoint(folder)
    if _is_packed(plain):
        return PackedCheckpoint(folder)
    entry = entry_file(plain.folder)
    if entry.name in (PACKED_INDEX, PACKED_SINGLE):
        raise PayloadError(f"{entry}: expected packed tensors by its name, got none. Fetch it again, or rename it.")
    if (plain.folder / "config.json").exists():
        grid = compressed_tensors.grid_of(plain.folder, plain.config)
        if grid is not None:
            return QuantizedCheckpoint(folder, grid)
    return plain


def open_as_stored(folder: str | Path) -> tuple[Checkpoint, str | None]:
    """As open_checkpoint does; or, where a config.json is broken or tells of a form that is not read here, the tensors
    as they stand in the files and the reason. For whoever only looks at them.

    Raises CheckpointError or PayloadError if the files themselves are damaged.
    """
    plain = Checkpoint(folder)
    try:
        return open_checkpoint(folder), None
    except FmcompressError as error:
        if _is_packed(plain):
            raise
        return plain, str(error)


def _is_packed(plain: Checkpoint) -> bool:
    return any(packed.is_packed(read_metadata(shard)) for shard in plain.shards)
