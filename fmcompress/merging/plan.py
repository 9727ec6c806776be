"""What a merge would do, found out before any work: every tensor, its dtypes, its place in OUT, bytes and memory."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch

from ..checkpoint import TensorEntry
from ..checkpoint.layout import DTYPE_NAMES
from ..errors import CheckpointError, ConfigError
from ..memory import resident_bytes
from .layout import Shard, lay_out
from .linear import shares
from .matching import check_configs, check_shapes, check_vocabularies
from .method import TensorSettings
from .names import choose_names
from .open_models import Source, dense_bytes, open_models
from .parameters import places
from .recipe import MergeRecipe
from .sources import BlockReader

FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
WORKERS = 2  # threads, each with blocks of its own: one reads and writes while the other sums
BLOCK_ENTRIES = 1 << 18  # of one model: few calls a tensor, and all rows of a block stay in the cache
LIBRARY_BYTES = 40 << 20  # what torch imports with the first op


@dataclass(frozen=True)
class TensorPlan:
    """One tensor to write.

    written   its place in OUT
    read      the narrowest dtype that holds those of all models
    settings  None: it holds no floats, is equal in all models and copied
    """

    written: TensorEntry
    read: torch.dtype
    settings: TensorSettings | None

    @property
    def name(self) -> str:
        """Of the tensor."""
        return self.written.name


@dataclass(frozen=True)
class MergePlan:
    """A merge that can be carried out.

    sources        the models as rows of a block have them
    template       of whom layout and other files are
    tensors        in the order of their bytes
    shards         files of OUT with tensors
    notes          what a person should know
    block_entries  of one model that are merged at once
    workers        threads
    """

    recipe: MergeRecipe
    sources: Sequence[Source]
    template: Source
    tensors: Sequence[TensorPlan]
    shards: Sequence[Shard]
    notes: Sequence[str]
    block_entries: int = BLOCK_ENTRIES
    workers: int = WORKERS

    @property
    def read_bytes(self) -> int:
        """Bytes of tensors that are read from files."""
        names = [one.name for one in self.tensors]
        return sum(source.checkpoint.tensors[name].size_bytes for source in self.sources for name in names)

    @property
    def written_bytes(self) -> int:
        """Bytes of the files of OUT with tensors."""
        return sum(shard.size for shard in self.shards)

    @property
    def peak_bytes(self) -> int:
        """About the most memory: this process, and of every thread the blocks and what it is summed in."""
        widest = max((one.read.itemsize for one in self.tensors), default=0)
        block = self.block_entries * ((len(self.sources) + 1) * widest + 6 * 8)
        encoded = [source for source in self.sources if not source.is_plain]
        names = [one.name for one in self.tensors]
        whole = max((sum(dense_bytes(one.checkpoint.tensors[name]) for one in encoded) for name in names), default=0)
        return resident_bytes() + LIBRARY_BYTES + self.workers * (block + whole)

    def facts(self) -> dict[str, Any]:
        """What --dry-run prints, as JSON."""
        dtypes: dict[str, int] = {}
        for one in self.tensors:
            dtype = DTYPE_NAMES[one.written.dtype]
            dtypes[dtype] = dtypes.get(dtype, 0) + 1
        return {
            "merge_method": self.recipe.merge_method,
            "models": [one.label for one in self.sources],
            "template": self.template.label,
            "tensors": len(self.tensors),
            "copied": sum(one.settings is None for one in self.tensors),
            "dtypes": dtypes,
            "sum_dtype": str(self.recipe.sum_dtype).removeprefix("torch."),
            "shards": [shard.name for shard in self.shards],
            "read_bytes": self.read_bytes,
            "written_bytes": self.written_bytes,
            "peak_bytes": self.peak_bytes,
            "notes": list(self.notes),
        }


def plan_merge(recipe: MergeRecipe, *, any_vocabulary: bool = False) -> MergePlan:
    """Open all models of a recipe and find out what a merge of them writes. Nothing is written.

    any_vocabulary  merge embeddings also where tokenizer.json of the models differ

    Raises ConfigError for a recipe that does not fit, CheckpointError for models that cannot be merged.
    """
    folders = recipe.folders
    *sources, template = open_models([*folders, recipe.template], recipe.base_model)
    if recipe.template in folders:
        template, compared = sources[folders.index(recipe.template)], sources
    elif any(one.is_patch for one in sources):
        compared = [template, *sources]
    else:
        raise ConfigError(
            f"base_model: {recipe.merge_method} merges the listed models alone. List {recipe.base_model} among them, "
            "or leave it out."
        )
    check_configs(compared)
    check_shapes(compared)
    if not any_vocabulary:
        check_vocabularies(compared)
    reader = BlockReader(BLOCK_ENTRIES)
    names, notes = choose_names(compared, template, reader)
    dtypes = {name: _dtypes(name, sources, reader) for name in names}
    written = {name: _written(recipe, template, name) for name in names}
    shards = lay_out(template.checkpoint, written)
    settings = _settings(recipe, template, names)
    tensors = [
        TensorPlan(entry, dtypes[name], settings.get(name))
        for shard in shards
        for name, entry in sorted(shard.entries.items(), key=lambda item: item[1].offset)
    ]
    return MergePlan(recipe, sources, template, tensors, shards, [*notes, *_notes(recipe, sources, tensors)])


def _dtypes(name: str, sources: Sequence[Source], reader: BlockReader) -> torch.dtype:
    """The narrowest dtype that holds a tensor of all models; of one that is not of floats, it must be equal in all."""
    first, *others = sources
    stored = [one.checkpoint.tensors[name].dtype for one in sources]
    if all(dtype in FLOATS for dtype in stored):
        return functools.reduce(torch.promote_types, stored)
    for source, dtype in zip(sources, stored, strict=True):
        if dtype.is_floating_point and dtype not in FLOATS:
            raise CheckpointError(
                f"{name}: {source.label} stores it as {_told(dtype)}, without its scale no number. Merge the models "
                "before they are quantized."
            )
    for other, dtype in zip(others, stored[1:], strict=True):
        if dtype != stored[0] or not reader.equal((first, name), (other, name)):
            raise CheckpointError(
                f"{name}: {_told(stored[0])} in {first.label} and {_told(dtype)} in {other.label}, not the same. What "
                "holds no floats is copied, and must be equal in all models."
            )
    return stored[0]


def _told(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _written(recipe: MergeRecipe, template: Source, name: str) -> torch.dtype:
    own = template.checkpoint.tensors[name].dtype
    return recipe.written_dtype if own in FLOATS and recipe.written_dtype is not None else own


def _settings(recipe: MergeRecipe, template: Source, names: Sequence[str]) -> Mapping[str, TensorSettings]:
    at, found = places(names), dict[str, TensorSettings]()
    for name in names:
        entry = template.checkpoint.tensors[name]
        if entry.dtype not in FLOATS:
            continue
        found[name] = recipe.settings(name, prod(entry.shape), at[name])
        if recipe.method.divides:
            shares(found[name])  # raises where they add up to 0
    return found


def _notes(recipe: MergeRecipe, sources: Sequence[Source], tensors: Sequence[TensorPlan]) -> list[str]:
    notes = []
    for one in tensors:
        stored = [_told(source.checkpoint.tensors[one.name].dtype) for source in sources]
        if len(set(stored)) > 1:
            told = ", ".join(f"{source.label}: {dtype}" for source, dtype in zip(sources, stored, strict=True))
            notes.append(f"dtypes differ, first in {one.name} ({told}): widened exactly before they are merged")
            break
    if "int8_mask" in recipe.parameters:
        notes.append("int8_mask changes nothing here")
    return notes
