"""A file of a teacher's logits over windows of a text: written row by row, whole or not at all, and read with checks.

safetensors, with one row a predicted token in each tensor of Code.shapes(), the windows as "tokens" [windows, length]
int32, and under METADATA what About tells, as JSON.
"""

import hashlib
import json
import os
import zlib
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor

from ..checkpoint import TensorEntry, read_error, sync, write_error
from ..checkpoint.layout import DTYPE_NAMES, read_header, read_metadata, write_header
from ..errors import ConfigError, FmcompressError, PayloadError
from .top_k_code import Code, TopK

METADATA = "fmcompress.top_k_logits"
CHUNK_BYTES = 1 << 24


class About(BaseModel):
    """What a file tells of itself.

    k, vocabulary, bits  see Code
    temperature          of softmax(logits / temperature), whose logarithms are kept
    windows, length      of the text, in tokens; each but the first token of a window has a row
    teacher, tokenizer   digest of the teacher's checkpoint, and of what its tokenizer knows (see tokenizer_digest)
    crc32                of all of that and of the bytes of each tensor, 8 hexadecimal digits
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    version: Literal[1] = 1
    k: int = Field(ge=1, le=1 << 24)
    vocabulary: int = Field(ge=1, le=1 << 24)
    bits: int = Field(8, ge=4, le=8)
    temperature: float = Field(1.0, gt=0, allow_inf_nan=False)
    windows: int = Field(ge=1, le=1 << 40)
    length: int = Field(ge=2, le=1 << 24)
    teacher: str
    tokenizer: str
    crc32: dict[str, str] = {}

    @model_validator(mode="after")
    def _fits(self) -> "About":
        _ = self.code
        return self

    @property
    def code(self) -> Code:
        """How rows are packed."""
        return Code(self.k, self.vocabulary, self.bits)

    @property
    def rows(self) -> int:
        """Predicted tokens."""
        return self.windows * (self.length - 1)

    @property
    def begun(self) -> int:
        """What the checksum of each tensor begins with: that of all other fields."""
        return zlib.crc32(self.model_dump_json(exclude={"crc32"}).encode())

    def shapes(self) -> dict[str, tuple[torch.dtype, tuple[int, int]]]:
        """The tensors of the file."""
        packed = {name: (dtype, (self.rows, cols)) for name, (dtype, cols) in self.code.shapes().items()}
        return {"tokens": (torch.int32, (self.windows, self.length)), **packed}


def tokenizer_digest(tokenizer: Any) -> str:
    """sha256 of the tokens that a tokenizer knows, with their numbers."""
    return hashlib.sha256(json.dumps(sorted(tokenizer.get_vocab().items())).encode()).hexdigest()


class LogitsWriter:
    """Writes a file row by row; it appears when all rows are there, and not at all if the block is left by an error.

    tokens  [windows, length] int64

    Raises DiskError if it cannot be written.
    """

    def __init__(self, path: Path, about: About, tokens: Tensor) -> None:
        self.path, self.about, self.tokens = path, about, tokens
        self.growing = path.with_name(f"{path.name}.partial")
        self._places: dict[str, int] = {}  # where the next bytes of each tensor go
        self._sums: dict[str, int] = dict.fromkeys(about.shapes(), about.begun)
        self._done = 0

    def __enter__(self) -> "LogitsWriter":
        try:
            self._file: BinaryIO = self.growing.open("w+b")
            begin = self._write_header()
        except OSError as error:
            raise write_error(self.path, error) from None
        for name in self._order:
            self._places[name] = begin
            begin += self._sizes[name][2]
        self._write("tokens", self.tokens.to(torch.int32))
        return self

    def _write_header(self) -> int:
        """Write it, of the same length each time; returns where it ends."""
        self._sizes = {
            name: (DTYPE_NAMES[dtype], shape, shape[0] * shape[1] * dtype.itemsize)
            for name, (dtype, shape) in self.about.shapes().items()
        }
        sums = {name: f"{value:08x}" for name, value in self._sums.items()}
        self._file.seek(0)
        about = self.about.model_copy(update={"crc32": sums})
        self._order = write_header(self._file, self._sizes, {METADATA: about.model_dump_json()})
        return self._file.tell()

    def add(self, known: TopK) -> None:
        """The next rows."""
        for name, part in self.about.code.encode(known).items():
            self._write(name, part)
        self._done += len(known.ids)

    def _write(self, name: str, part: Tensor) -> None:
        data = part.cpu().contiguous().view(-1).view(torch.uint8).numpy().data
        try:
            self._file.seek(self._places[name])
            self._file.write(data)
        except OSError as error:
            raise write_error(self.path, error) from None
        self._places[name] += len(data)
        self._sums[name] = zlib.crc32(data, self._sums[name])

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if kind is None and self._done != self.about.rows:
                raise ConfigError(f"{self.path}: expected {self.about.rows} rows of logits, got {self._done}.")
            if kind is None:
                self._write_header()
            self._file.close()
            if kind is None:
                sync(self.growing)
                os.replace(self.growing, self.path)
        except OSError as failed:
            raise write_error(self.path, failed) from None
        finally:
            self._file.close()
            self.growing.unlink(missing_ok=True)


class LogitsFile:
    """A file of logits, of which rows are read as they are wanted.

    about  what it tells of itself

    Everything but the rows is checked here, with their checksums unless `verify` is False; the rows when they are
    read. Raises PayloadError, ConfigError if there is no such file, DiskError if it cannot be read.
    """

    def __init__(self, path: Path, *, verify: bool = True) -> None:
        if not path.is_file():
            raise ConfigError(f"{path}: no such file. Make it with fmcompress distill logits.")
        self.path = path
        self.about, self._entries = _described(path)
        for name, (dtype, shape) in self.about.shapes().items():
            entry = self._entries.get(name)
            if entry is None or entry.dtype != dtype or entry.shape != shape:
                got = "none" if entry is None else f"{entry.dtype} {list(entry.shape)}"
                raise PayloadError(f"{path}: {name}: expected {dtype} {list(shape)}, got {got}. Make the file anew.")
        if verify:
            for name in self.about.shapes():
                self._check_sum(name)
        tokens = self._read("tokens", 0, self.about.windows)
        if int(tokens.min()) < 0 or int(tokens.max()) >= self.about.vocabulary:
            raise PayloadError(f"{path}: tokens: expected numbers below {self.about.vocabulary}. Make the file anew.")
        self.tokens = tokens.long()

    def _check_sum(self, name: str) -> None:
        total, cols = self.about.begun, max(1, self._entries[name].size_bytes // self._entries[name].shape[0])
        rows = max(1, CHUNK_BYTES // cols)
        for begin in range(0, self._entries[name].shape[0], rows):
            part = self._read(name, begin, min(begin + rows, self._entries[name].shape[0]))
            total = zlib.crc32(part.view(-1).view(torch.uint8).numpy().data, total)
        if self.about.crc32.get(name) != f"{total:08x}":
            raise PayloadError(f"{self.path}: {name}: wrong checksum. The file is damaged: make it anew.")

    def _read(self, name: str, begin: int, end: int) -> Tensor:
        entry = self._entries[name]
        row = entry.size_bytes // entry.shape[0]
        buffer = torch.empty((end - begin) * row, dtype=torch.uint8)
        try:
            with self.path.open("rb", buffering=0) as file:
                file.seek(entry.offset + begin * row)
                if file.readinto(buffer.numpy().data) != len(buffer):
                    raise PayloadError(f"{self.path}: ends inside {name}. Make the file anew.")
        except OSError as error:
            raise read_error(self.path, error) from None
        return buffer.view(entry.dtype).view(end - begin, entry.shape[1])

    def read(self, windows: list[int]) -> TopK:
        """The rows of some windows, one after another. Raises PayloadError for what no teacher can have said."""
        size = self.about.length - 1
        parts = {
            name: torch.cat([self._read(name, number * size, (number + 1) * size) for number in windows])
            for name in self.about.code.shapes()
        }
        try:
            return self.about.code.decode(parts)
        except PayloadError as error:
            raise PayloadError(f"{self.path}: {error}") from None


def _described(path: Path) -> tuple[About, dict[str, TensorEntry]]:
    """What a file says of itself, and where its tensors lie."""
    try:
        entries, metadata = read_header(path), read_metadata(path)
        return About.model_validate_json(metadata[METADATA]), entries
    except KeyError:
        raise PayloadError(f"{path}: is no file of logits. Make one with fmcompress distill logits.") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise PayloadError(f"{path}: {where}: {first['msg']}. Make the file anew with this version.") from None
    except FmcompressError as error:
        raise PayloadError(str(error)) from None
