"""fmcompress patch make: what turns one checkpoint into another, as a folder of its own."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from torch import Tensor

from .. import __version__
from ..checkpoint import Checkpoint, TensorEntry, companion_files, copy_file, growing, sync
from ..checkpoint.layout import DTYPE_NAMES, read_header_text, write_header
from ..errors import CheckpointError, ConfigError
from ..files import sha256_of
from ..formats import PackedCheckpoint, QuantizedCheckpoint, open_checkpoint
from ..formats.unpack import unpack_checkpoint
from ..in_order import in_order
from .codec import Encoded, Squares, encode, fits
from .description import (
    ABOUT_KEY,
    DIGEST_KEY,
    HEADER,
    TENSOR,
    VERSION,
    VERSION_KEY,
    About,
    FileFields,
    TensorDescription,
    digest,
)
from .numbers import bits_of
from .options import PatchOptions
from .patch import FILE, FILES, Patch, dense_bytes, is_patch, patch_facts

SPOOL, UNPACKED = "parts", "unpacked"  # in the growing folder, gone before it appears
COPY_BYTES = 1 << 22


def make_patch(
    base: Path,
    tuned: Path,
    out: Path,
    options: PatchOptions | None = None,
    progress: Callable[[int, int, str], None] = lambda done, total, name: None,
) -> dict[str, Any]:
    """Write what turns the checkpoint `base` into `tuned`. PATCH appears by one rename, every tensor tried before that.

    base, tuned  dense, packed or compressed-tensors; a tuned one that is not dense is unpacked first, beside PATCH
    progress     called with (tensors done, tensors in all, the next one's name)
    returns      what patch_facts tells, and under "left_out" the files and folders of `tuned` that no checkpoint has

    Raises ConfigError if PATCH exists, CheckpointError or PayloadError if a checkpoint is damaged, DiskError if
    something cannot be read or written.
    """
    origin, aim = _opened(base), _opened(tuned)
    if not aim.tensors:
        raise CheckpointError(f"TUNED: {tuned}: holds no tensors. Give the folder of a checkpoint.")
    left_out = _left_out(aim)
    with growing(out, "PATCH") as partial:
        if isinstance(aim, PackedCheckpoint | QuantizedCheckpoint):
            aim = unpack_checkpoint(tuned, partial / UNPACKED)
        metadata = {VERSION_KEY: str(VERSION)}
        for shard in aim.shards:
            metadata[HEADER + shard.name] = read_header_text(shard)[0].decode()
        with (partial / SPOOL).open("w+b") as spool:
            spooled = _Spool(spool)
            squares = _encode_all(origin, aim, options or PatchOptions(), spooled, progress)
            metadata.update({TENSOR + name: d.as_json() for name, d in spooled.descriptions.items()})
            lossy = any(described.loss is not None for described in spooled.descriptions.values())
            about = About(
                fmcompress=__version__,
                options=options or PatchOptions(),
                files=_keep_files(origin, aim, partial / FILES),
                removed=sorted(origin.tensors.keys() - aim.tensors.keys()),
                loss=squares.loss if lossy else None,
            )
            metadata[ABOUT_KEY] = about.model_dump_json()
            spooled.write(partial / FILE, {**metadata, DIGEST_KEY: digest(metadata)})
        (partial / SPOOL).unlink()
        shutil.rmtree(partial / UNPACKED, ignore_errors=True)
        facts = patch_facts(Patch(partial))
    return {**facts, "patch": str(out), "left_out": left_out}


def _opened(folder: Path) -> Checkpoint:
    if is_patch(folder):
        raise ConfigError(f"{folder}: a patch, expected a checkpoint. Apply it first: fmcompress patch apply.")
    return open_checkpoint(folder)


def _encode_all(
    origin: Checkpoint,
    aim: Checkpoint,
    options: PatchOptions,
    spooled: "_Spool",
    progress: Callable[[int, int, str], None],
) -> Squares:
    entries = sorted(aim.tensors.values(), key=lambda entry: (entry.path.name, entry.offset, entry.size_bytes))

    def work(entry: TensorEntry) -> Encoded:
        start = origin.tensors.get(entry.name)
        found = origin.read(entry.name) if fits(start, entry) else None
        return encode(entry, found, aim.read(entry.name), options)

    squares = Squares()
    for done, encoded in enumerate(in_order(work, entries, dense_bytes)):
        progress(done, len(entries), encoded.name)
        spooled.add(encoded)
        squares += encoded.squares
    return squares


class _Spool:
    """Parts in the order in which they come, since the header before them needs to know them all."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.places: dict[str, tuple[int, int]] = {}  # PART:NAME -> first byte, bytes
        self.fields: dict[str, tuple[str, tuple[int, ...], int]] = {}
        self.descriptions: dict[str, TensorDescription] = {}

    def add(self, encoded: Encoded) -> None:
        self.descriptions[encoded.name] = encoded.description
        for part, tensor in encoded.parts.items():
            self._append(f"{part}:{encoded.name}", tensor)

    def _append(self, name: str, tensor: Tensor) -> None:
        size = tensor.numel() * tensor.itemsize
        self.places[name] = self.file.tell(), size
        self.fields[name] = DTYPE_NAMES[tensor.dtype], tuple(tensor.shape), size
        self.file.write(bits_of(tensor).data)

    def write(self, path: Path, metadata: dict[str, str]) -> None:
        with path.open("wb") as file:
            for name in write_header(file, self.fields, metadata):
                begin, left = self.places[name]
                self.file.seek(begin)
                while left:
                    piece = self.file.read(min(left, COPY_BYTES))
                    file.write(piece)
                    left -= len(piece)
        sync(path)


def _keep_files(origin: Checkpoint, aim: Checkpoint, folder: Path) -> dict[str, FileFields]:
    """What stands beside the tuned shards; copied where the base has not the same."""
    kept = dict[str, FileFields]()
    for path in companion_files(aim):
        within, sha = path.relative_to(aim.folder), sha256_of(path)
        twin = origin.folder / within
        stored = not (twin.is_file() and sha256_of(twin) == sha)
        if stored:
            (folder / within).parent.mkdir(parents=True, exist_ok=True)
            copy_file(path, folder / within)
        kept[within.as_posix()] = FileFields(sha256=sha.hex(), stored=stored)
    return kept


def _left_out(aim: Checkpoint) -> list[str]:
    """What else lies in a dense tuned folder: weights of other programs, optimizers, hidden files, folders."""
    if isinstance(aim, PackedCheckpoint | QuantizedCheckpoint):
        return []
    kept = {path.relative_to(aim.folder).parts[0] for path in (*aim.shards, *companion_files(aim))}
    return sorted(path.name + "/" * path.is_dir() for path in aim.folder.iterdir() if path.name not in kept)
