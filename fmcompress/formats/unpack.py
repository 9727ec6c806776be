"""From a packed or quantized checkpoint back to a dense one."""

import json
from collections.abc import Callable
from itertools import count
from math import prod
from pathlib import Path

import torch

from ..checkpoint import (
    Checkpoint,
    TensorEntry,
    companion_files,
    copy_file,
    growing,
    note_dense_again,
    read_error,
    require_space,
    sync,
)
from ..checkpoint.layout import (
    CARD,
    DTYPE_NAMES,
    FACTS,
    INDEX,
    INDICES,
    dense_name,
    entry_file,
    parse_header,
    read_metadata,
    write_header,
)
from ..errors import CheckpointError, ConfigError, PayloadError
from .encoded import PackedCheckpoint, QuantizedCheckpoint, open_checkpoint
from .store import SOURCE_HEADER, SOURCE_INDEX, write_json


def unpack_checkpoint(
    folder: Path,
    out: Path,
    progress: Callable[[int, int, str], None] = lambda done, total, name: None,
    note: Callable[[str], None] = lambda text: None,
) -> Checkpoint:
    """Write all tensors of a packed or compressed-tensors checkpoint dense. Returns what was written.

    A packed checkpoint comes back to the bit, headers and index included: the files that `--format dense` would have
    written. OUT appears by one rename at the end; an empty folder of that name is replaced.

    progress  called with (tensors written, tensors in all, the next one's name)
    note      called where headers and index are not remembered, so that files come back by value, but not to the byte

    Raises ConfigError if there is nothing to unpack or OUT exists, PayloadError if a tensor does not decode, DiskError
    if something cannot be read or written.
    """
    source = open_checkpoint(folder)
    if not isinstance(source, PackedCheckpoint | QuantizedCheckpoint):
        raise ConfigError(f"{folder}: its weights are dense already.")
    with growing(out, "OUT") as partial:
        require_space(partial.parent, sum(_dense_fields(entry)[2] for entry in source.tensors.values()))
        done = count()
        _write_all(source, partial, lambda name: progress(next(done), len(source.tensors), name))
        _check_written(source, partial)
    if not _remembers(source):
        note("the values are those of the packed weights; headers and index are new, not the source's to the byte")
    return Checkpoint(out.resolve())


def _check_written(source: Checkpoint, partial: Path) -> None:
    """Raise PayloadError if what was written is not what stands packed; whatever is wrong with it came from there."""
    try:
        same = _all_fields(Checkpoint(partial)) == _all_fields(source)
    except CheckpointError:
        same = False
    if not same:
        raise PayloadError(f"{source.folder}: the index that it remembers is not of its tensors. Fetch it again.")


def _remembers(source: Checkpoint) -> bool:
    """Whether all headers, and the index where there is one, come back as they were."""
    entry = entry_file(source.folder)
    headers = all(SOURCE_HEADER in read_metadata(shard) for shard in source.shards)
    return headers and (entry.name not in INDICES or _remembered_index(source) is not None)


def _write_all(source: Checkpoint, folder: Path, progress: Callable[[str], None]) -> None:
    for shard in source.shards:
        _write_shard(source, shard, folder / dense_name(shard.name), progress)
    for path in companion_files(source):
        within = path.relative_to(source.folder)
        if str(within) not in (*INDICES, FACTS, "config.json"):
            copy_file(path, folder / within)
    if (source.folder / "config.json").exists():
        _restore_config(source, folder)
    if entry_file(source.folder).name in INDICES:
        _restore_index(source, folder)
    if (source.folder / FACTS).exists():
        _restore_facts(source, folder)
    note_dense_again(source.folder / CARD, folder / CARD)
    sync(folder)


def _write_shard(source: Checkpoint, shard: Path, to: Path, progress: Callable[[str], None]) -> None:
    metadata, here = read_metadata(shard), source.in_shard(shard)
    remembered = metadata.get(SOURCE_HEADER)
    with to.open("wb") as file:
        if remembered is None:
            kept = {key: text for key, text in metadata.items() if not key.startswith("fmcompress.")}
            sizes = {n: _dense_fields(source.tensors[n]) for n in here}
            order = write_header(file, sizes, kept)
        else:
            text = remembered.encode()
            entries = parse_header(shard, text, 8 + len(text) + sum(_dense_fields(source.tensors[n])[2] for n in here))
            if {n: _fields(e) for n, e in entries.items()} != {n: _fields(source.tensors[n]) for n in here}:
                raise PayloadError(f"{shard}: the header that it remembers is not of its tensors.")
            file.write(len(text).to_bytes(8, "little") + text)
            order = sorted(entries, key=lambda name: (entries[name].offset, entries[name].size_bytes))
        for name in order:
            progress(name)
            file.write(source.read(name).contiguous().view(-1).view(torch.uint8).numpy().data)
    sync(to)


def _fields(entry: TensorEntry) -> tuple[torch.dtype, tuple[int, ...]]:
    return entry.dtype, entry.shape


def _all_fields(checkpoint: Checkpoint) -> dict[str, tuple[str, torch.dtype, tuple[int, ...]]]:
    return {name: (dense_name(entry.path.name), *_fields(entry)) for name, entry in checkpoint.tensors.items()}


def _dense_fields(entry: TensorEntry) -> tuple[str, tuple[int, ...], int]:
    return DTYPE_NAMES[entry.dtype], entry.shape, prod(entry.shape) * entry.dtype.itemsize


def _restore_config(source: Checkpoint, folder: Path) -> None:
    if isinstance(source, QuantizedCheckpoint):
        config = {key: value for key, value in source.config.items() if key != "quantization_config"}
        write_json(folder / "config.json", config)
    else:
        copy_file(source.folder / "config.json", folder / "config.json")


def _restore_facts(source: Checkpoint, folder: Path) -> None:
    """What was done to the weights is still true; how they are stored is not."""
    try:
        facts = dict(json.loads(_read(source.folder / FACTS)))
        if not isinstance(facts["bytes_before"], int) or not isinstance(facts["weights"], int):
            raise ValueError
    except (ValueError, TypeError, KeyError, RecursionError):
        return  # not ours, or damaged: nothing depends on it
    size = facts["bytes_before"]
    dense = {"format": "dense", "bytes_after": size, "bits_per_weight": 8 * size / max(1, facts["weights"])}
    total = {"checkpoint_bytes_after": facts["checkpoint_bytes_before"]} if "checkpoint_bytes_before" in facts else {}
    write_json(folder / FACTS, {**facts, **dense, **total})


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise read_error(path, error) from None


def _restore_index(source: Checkpoint, folder: Path) -> None:
    remembered = _remembered_index(source)
    if remembered is not None:
        (folder / INDEX).write_bytes(remembered.encode(errors="replace"))  # half a character is read by nobody
        sync(folder / INDEX)
        return
    weight_map = {name: dense_name(entry.path.name) for name, entry in sorted(source.tensors.items())}
    total = sum(_dense_fields(entry)[2] for entry in source.tensors.values())
    write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})


def _remembered_index(source: Checkpoint) -> str | None:
    metadata = json.loads(_read(entry_file(source.folder))).get("metadata")
    remembered = metadata.get(SOURCE_INDEX) if isinstance(metadata, dict) else None
    return remembered if isinstance(remembered, str) else None
