"""The folder of a patch, read: strictly, since it may come from a stranger (docs/patch-format.md)."""

import json
from math import prod
from pathlib import Path, PurePosixPath
from typing import Any

from torch import Tensor

from ..checkpoint import Checkpoint, TensorEntry
from ..checkpoint.layout import DTYPE_NAMES, DTYPES, parse_header, read_header, read_metadata
from ..checkpoint.writer import FOREIGN_WEIGHTS
from ..errors import CheckpointError, PayloadError
from ..formats import packed
from .description import (
    ABOUT_KEY,
    DIGEST_KEY,
    HEADER,
    TENSOR,
    VERSION,
    VERSION_KEY,
    About,
    digest,
    parse,
    parse_tensor,
)
from .lossless import Parts

FILE, FILES = "patch.safetensors", "files"  # a name that no loader takes for a model's; what stands beside its shards


def is_patch(folder: str | Path) -> bool:
    """Whether a folder holds a patch, damaged or not."""
    return (Path(folder) / FILE).is_file()


class Patch:
    """What a patch says, checked as far as that goes without a base.

    folder   where it lies
    about    what holds for all of it
    headers  shard of the tuned checkpoint -> its JSON header, verbatim
    entries  tensor -> where it lies in the tuned checkpoint: `path` is the shard's name
    tensors  tensor -> how it comes about
    stored   PART:NAME -> where the part lies
    digest   sha256 of all of this, and so of every tensor and file of the tuned checkpoint

    Raises CheckpointError if it is missing or no safetensors file, PayloadError if it is damaged, of another version or
    contradicts itself.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not is_patch(self.folder):
            raise CheckpointError(
                f"{self.folder}: expected the folder of a patch, got no {FILE} in it. Make one: fmcompress patch make."
            )
        path = self.folder / FILE
        self.stored = read_header(path)
        texts = self._checked_texts(path)
        self.digest = texts[DIGEST_KEY]
        self.about = parse(f"{path}: {ABOUT_KEY}", About, texts[ABOUT_KEY])
        self.headers = {key.removeprefix(HEADER): text for key, text in texts.items() if key.startswith(HEADER)}
        self._check_names()
        self.entries: dict[str, TensorEntry] = {}
        for shard, text in self.headers.items():
            for name, entry in _header_entries(shard, text).items():
                if name in self.entries:
                    raise PayloadError(f"{path}: tensor {name!r} lies in two shards.")
                self.entries[name] = entry
        described = {key.removeprefix(TENSOR): text for key, text in texts.items() if key.startswith(TENSOR)}
        if described.keys() != self.entries.keys():
            name = min(described.keys() ^ self.entries.keys())
            raise PayloadError(f"{path}: tensor {name!r} is described or has a place, but not both.")
        self.tensors = {name: parse_tensor(entry, described[name]) for name, entry in self.entries.items()}
        self._check_parts(path)

    @staticmethod
    def _checked_texts(path: Path) -> dict[str, str]:
        texts = read_metadata(path)
        version = texts.get(VERSION_KEY)
        if version != str(VERSION):
            remedy = "The file is damaged or no patch: fetch it again." if version is None else "Update fmcompress."
            raise PayloadError(f"{path}: patch format version {version}, known is {VERSION}. {remedy}")
        if texts.get(DIGEST_KEY) != digest(texts) or ABOUT_KEY not in texts:
            raise PayloadError(f"{path}: wrong checksum of the metadata. The file is damaged: fetch it again.")
        return texts

    def _check_names(self) -> None:
        """Names of files become paths: none may lead out of a folder, or onto another.

        Nor may they be what companion_files leaves out: .git, or weights that another program would execute.
        """
        shards = set(self.headers)
        for name in (*self.headers, *self.about.files):
            parts = PurePosixPath(name).parts
            plain = "/".join(parts) == name and 1 <= len(parts) <= 2 and not {".", ".."} & {*parts} and "\\" not in name
            hidden = name.startswith(".")
            weights = len(parts) == 1 and name not in shards and PurePosixPath(name).suffix in FOREIGN_WEIGHTS
            if not plain or hidden or weights or "\0" in name or (name in shards and len(parts) > 1):
                raise PayloadError(f"{self.folder / FILE}: {name!r} is no name for a file of a checkpoint.")
        if shards & self.about.files.keys():
            raise PayloadError(f"{self.folder / FILE}: a file is both a shard and none.")

    def _check_parts(self, path: Path) -> None:
        wanted = dict[str, tuple[str, tuple[int, ...] | None]]()
        for name, described in self.tensors.items():
            wanted.update({f"{part}:{name}": fields for part, fields in described.parts(self.entries[name]).items()})
        if wanted.keys() != self.stored.keys():
            raise PayloadError(f"{path}: part {min(wanted.keys() ^ self.stored.keys())!r} is missing or not described.")
        for name, described in self.tensors.items():
            stored, dense = self.stored_bytes(name), dense_bytes(self.entries[name])
            if described.kind not in ("raw", "equal") and stored >= dense:
                raise PayloadError(
                    f"{path}: {name}: expected parts smaller than the {dense} bytes of the tensor itself."
                )
        for part, (dtype, shape) in wanted.items():
            got = self.stored[part]
            if got.dtype != DTYPES[dtype] or (got.shape != shape if shape is not None else len(got.shape) != 1):
                raise PayloadError(
                    f"{path}: {part}: expected {dtype} {'[bytes]' if shape is None else list(shape)}, "
                    f"got {got.dtype} {list(got.shape)}."
                )

    def read_parts(self, name: str) -> Parts:
        """The parts of one tensor. Raises PayloadError for a wrong checksum, CheckpointError if they cannot be read."""
        described = self.tensors[name]
        parts = {part: self._read(f"{part}:{name}") for part in described.parts(self.entries[name])}
        for part, expected in described.crc32.items():  # those of a packed matrix are checked where it is decoded
            if packed.checksum(parts[part]) != expected:
                raise PayloadError(f"{name}: {part}: wrong checksum. The patch is damaged: fetch it again.")
        return parts

    def _read(self, part: str) -> Tensor:
        return Checkpoint.read_entry(self.stored[part])

    def stored_bytes(self, name: str) -> int:
        """Bytes of the parts of one tensor."""
        return sum(self.stored[f"{part}:{name}"].size_bytes for part in self.tensors[name].parts(self.entries[name]))

    def list_tensors(self) -> list[dict[str, Any]]:
        """Of each tensor: name, kind, dtype, shape, dense_bytes, stored_bytes, and loss, null where there is none."""
        return [
            {
                "name": name,
                "kind": described.kind,
                "dtype": DTYPE_NAMES[self.entries[name].dtype],
                "shape": list(self.entries[name].shape),
                "dense_bytes": dense_bytes(self.entries[name]),
                "stored_bytes": self.stored_bytes(name),
                "loss": None if described.loss is None else described.loss.model_dump(),
            }
            for name, described in self.tensors.items()
        ]

    def total_bytes(self) -> int:
        """Bytes of the patch's files on disk."""
        files = [self.folder / FILES / name for name, file in self.about.files.items() if file.stored]
        return sum(path.stat().st_size for path in (self.folder / FILE, *files) if path.exists())

    def tuned_bytes(self) -> int:
        """Bytes of all tensors of the tuned checkpoint."""
        return sum(dense_bytes(entry) for entry in self.entries.values())


def dense_bytes(entry: TensorEntry) -> int:
    """Bytes of a tensor as it is when decoded."""
    return prod(entry.shape) * entry.dtype.itemsize


def _header_entries(shard: str, text: str) -> dict[str, TensorEntry]:
    """Where the tensors lie in a shard of which only the header is there: it must be as long as they are together."""
    try:
        fields = json.loads(text)
        end = max((each["data_offsets"][1] for name, each in fields.items() if name != "__metadata__"), default=0)
        whole = 8 + len(text.encode()) + int(end)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, OverflowError):
        raise PayloadError(f"{shard}: the header that the patch remembers is none. Fetch the patch again.") from None
    return parse_header(Path(shard), text.encode(), whole)


def patch_facts(patch: Patch) -> dict[str, Any]:
    """What a patch holds: by kind of tensor how many, their dense bytes and their bytes here; sizes, losses, files."""
    kinds: dict[str, dict[str, int]] = {}
    for name, described in patch.tensors.items():
        kind = kinds.setdefault(described.kind, {"tensors": 0, "dense_bytes": 0, "stored_bytes": 0})
        kind["tensors"] += 1
        kind["dense_bytes"] += dense_bytes(patch.entries[name])
        kind["stored_bytes"] += patch.stored_bytes(name)
    dense, stored = patch.tuned_bytes(), patch.total_bytes()
    about = patch.about
    return {
        "patch": str(patch.folder),
        "tensors": len(patch.tensors),
        "kinds": kinds,
        "dense_bytes": dense,
        "patch_bytes": stored,
        "share": stored / max(1, dense),
        "loss": None if about.loss is None else about.loss.model_dump(),
        "options": about.options.model_dump(),
        "removed": about.removed,
        "files": sum(file.stored for file in about.files.values()),
    }
