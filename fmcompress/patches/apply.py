"""fmcompress patch apply: the tuned checkpoint again, file for file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..checkpoint import Checkpoint, copy_file, growing, require_space, sync
from ..errors import CheckpointError, PayloadError
from ..files import sha256_of
from ..formats import open_checkpoint
from ..in_order import in_order
from .numbers import bits_of
from .patch import Patch, dense_bytes
from .patched import PatchedCheckpoint


def apply_patch(
    base: Path,
    patch: Path,
    out: Path,
    progress: Callable[[int, int, str], None] = lambda done, total, name: None,
) -> dict[str, Any]:
    """Write the checkpoint that `patch` makes of `base`: shards, headers, index and companions as they were.

    Every tensor of the base and every result is held against its hash before OUT appears by one rename.

    progress  called with (tensors written, tensors in all, the next one's name)
    returns   what was written: out, tensors, bytes

    Raises ConfigError if OUT exists, CheckpointError for another base, PayloadError if the patch is damaged, DiskError
    if something cannot be read or written.
    """
    tuned = PatchedCheckpoint(Patch(patch), open_checkpoint(base))
    with growing(out, "OUT") as partial:
        require_space(partial, tuned.patch.tuned_bytes())
        for name in tuned.patch.about.files:
            _copy_companion(tuned, name, partial)
        _write_shards(tuned, partial, progress)
        _check_layout(tuned.patch, partial)
    return {"out": str(out), "tensors": len(tuned.tensors), "bytes": tuned.patch.tuned_bytes()}


def _write_shards(tuned: PatchedCheckpoint, folder: Path, progress: Callable[[int, int, str], None]) -> None:
    entries, done = tuned.patch.entries, 0
    for shard, header in tuned.patch.headers.items():
        text = header.encode()
        here = [entry for entry in entries.values() if entry.path.name == shard]
        here.sort(key=lambda entry: (entry.offset, entry.size_bytes))
        with (folder / shard).open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            results = in_order(lambda entry: tuned.read(entry.name), here, dense_bytes)
            for entry, result in zip(here, results, strict=True):
                progress(done, len(entries), entry.name)
                file.write(bits_of(result).data)
                done += 1
        sync(folder / shard)


def _copy_companion(tuned: PatchedCheckpoint, name: str, folder: Path) -> None:
    file = tuned.patch.about.files[name]
    path = tuned.companion(name)
    where = "PATCH" if file.stored else "BASE"
    if not path.is_file() or sha256_of(path).hex() != file.sha256:
        state = "is not the one that the patch was made for" if path.is_file() else "is missing"
        raise CheckpointError(f"{where}: {path} {state}. Fetch the whole folder again.")
    copy_file(path, folder / name)


def _check_layout(patch: Patch, folder: Path) -> None:
    """Raise PayloadError if the shards do not fit an index that came with them."""
    try:
        written = {name: entry.path.name for name, entry in Checkpoint(folder).tensors.items()}
    except CheckpointError as error:
        raise PayloadError(f"{patch.folder}: what it describes is no checkpoint ({error}).") from None
    if written != {name: entry.path.name for name, entry in patch.entries.items()}:
        raise PayloadError(f"{patch.folder}: its index is not of its shards. Fetch the patch again.")
