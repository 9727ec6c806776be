"""Writes a changed copy of a checkpoint: copied byte for byte first, then changed tensors overwritten in place."""

import errno
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..errors import CheckpointError, DiskError
from .layout import TensorEntry, find_entry, read_layout
from .reader import Checkpoint

CHUNK_BYTES = 1 << 24
# other copies of the weights, which would contradict the pruned ones
FOREIGN_WEIGHTS = {".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".gguf", ".onnx", ".tflite", ".safetensors"}


def companion_files(source: Checkpoint) -> list[Path]:
    """Config, tokenizer, licence and the like: every plain file beside the shards that holds no weights.

    And all files of the folders in which modules.json keeps what sentence-transformers runs after the model.
    """
    files = (path for path in sorted(source.folder.iterdir()) if path.is_file() and not path.name.startswith("."))
    return [path for path in files if path.suffix not in FOREIGN_WEIGHTS] + _module_files(source.folder)


def _module_files(folder: Path) -> list[Path]:
    try:
        names = [module["path"] for module in json.loads((folder / "modules.json").read_text())]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []
    inside = [folder / name for name in names if isinstance(name, str) and name and name == Path(name).name]
    return [path for one in inside if one.is_dir() for path in sorted(one.iterdir()) if path.is_file()]


def sync(path: Path) -> None:
    """Make a file or folder survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def require_space(folder: Path, needed: int) -> None:
    """Raise CheckpointError unless the disk of a folder has so many bytes left."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise CheckpointError(
            f"{folder}: {needed} bytes needed, {free} free on this disk. Make room or choose another."
        )


def copy_checkpoint(source: Checkpoint, folder: Path, without: Iterable[str] = ()) -> None:
    """Copy shards and companion files into a new folder, byte for byte, and sync them.

    without  tensors, or slices NAME[INDEX], that will be written later: zeros stand in their place until then

    Raises CheckpointError if the disk is full, before or while copying.
    """
    later: dict[Path, list[TensorEntry]] = {}
    for entry in map(source.entry, without):
        later.setdefault(entry.path, []).append(entry)
    files = [*source.shards, *companion_files(source)]
    require_space(folder.parent, sum(path.stat().st_size for path in files))
    try:
        folder.mkdir()
    except OSError as error:
        raise write_error(folder, error) from None
    for path in files:
        copy_file(path, folder / path.relative_to(source.folder), later.get(path, ()))
    sync(folder)


def copy_file(path: Path, to: Path, without: Sequence[TensorEntry] = ()) -> None:
    """Copy a file byte for byte and sync the copy. Raises DiskError, which tells what cannot be read or written.

    without  parts of it that are left out, and read as zeros
    """
    try:
        to.parent.mkdir(exist_ok=True)
        if without:
            _copy_around(path, to, without)
        else:
            shutil.copyfile(path, to)
        sync(to)
    except OSError as error:
        if error.filename == str(path) and error.filename2 is None:  # an error while copying names both
            raise read_error(path, error) from None
        raise write_error(to, error) from None


def _copy_around(path: Path, to: Path, without: Sequence[TensorEntry]) -> None:
    size, at = path.stat().st_size, 0
    with path.open("rb", buffering=0) as source, to.open("wb", buffering=0) as target:
        target.truncate(size)  # room reserved by fallocate is several times as slow to write to
        for begin, end in [*sorted((e.offset, e.offset + e.size_bytes) for e in without), (size, size)]:
            source.seek(at)
            target.seek(at)
            while at < begin:
                chunk = source.read(min(CHUNK_BYTES, begin - at))
                if not chunk:
                    raise OSError(errno.EIO, "it became shorter meanwhile", str(path))
                at += len(chunk)
                while chunk:
                    chunk = chunk[target.write(chunk) or 0 :]
            at = max(at, end)


def read_error(path: Path, error: OSError) -> DiskError:
    """The error to raise for a file that cannot be read."""
    return DiskError(f"{path}: cannot be read ({error.strerror}). Look at its permissions and at the disk.")


def write_error(path: Path, error: OSError) -> DiskError:
    """The error to raise for a file that cannot be written."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    remedy = {
        errno.ENOENT: "Create its folder first.",
        errno.EACCES: "Look at its permissions, or choose another place.",
        errno.EROFS: "Choose another place.",
    }.get(error.errno or 0, "Make room or choose another place.")
    return DiskError(f"{path}: cannot be written ({'the disk is full' if full else error.strerror}). {remedy}")


class CheckpointWriter:
    """Overwrites tensors of a copied checkpoint, in their dtype, at their place."""

    def __init__(self, folder: Path) -> None:
        self.tensors: dict[str, TensorEntry] = read_layout(folder)
        self._touched: set[Path] = set()

    def write(self, name: str, tensor: Tensor) -> None:
        """Overwrite a tensor, or a slice NAME[INDEX]; shape and dtype must be those it has. Durable after flush()."""
        entry = find_entry(self.tensors, name)
        if entry is None:
            raise CheckpointError(f"{name}: there is no such tensor to overwrite.")
        if tensor.dtype != entry.dtype or tuple(tensor.shape) != entry.shape:
            raise CheckpointError(
                f"{name}: expected {entry.dtype} {list(entry.shape)}, got {tensor.dtype} {list(tensor.shape)}."
            )
        data = tensor.detach().contiguous().cpu().view(-1).view(torch.uint8).numpy().data
        try:
            with entry.path.open("r+b", buffering=0) as file:
                file.seek(entry.offset)
                while data:
                    data = data[file.write(data[: 1 << 30]) or 0 :]
        except OSError as error:
            raise write_error(entry.path, error) from None
        self._touched.add(entry.path)

    def flush(self) -> None:
        """Make everything written so far survive a power cut."""
        for path in self._touched:
            sync(path)
        self._touched.clear()
