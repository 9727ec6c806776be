"""Small checkpoints of few tensors, changed and read: what the tests of hostile bytes share."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

from compression import bits_of
from helpers import write_raw
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from torch import Tensor

from fmcompress.checkpoint import Checkpoint
from fmcompress.checkpoint.layout import DTYPE_NAMES, SINGLE, entry_file, read_header_text
from fmcompress.errors import FmcompressError
from fmcompress.formats import open_checkpoint
from fmcompress.formats.unpack import unpack_checkpoint

MANY = settings(
    derandomize=True,
    deadline=None,
    max_examples=150,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def write(folder: Path, texts: dict[str, str] | None, tensors: dict[str, Tensor]) -> Path:
    """A checkpoint of one file; a packed one, too, has the name that packed files once had, which is still read."""
    header: dict[str, Any] = {} if texts is None else {"__metadata__": texts}
    data = b""
    for name, tensor in tensors.items():
        part = bits_of(tensor).numpy().tobytes()
        offsets = [len(data), len(data) + len(part)]
        header[name] = {"dtype": DTYPE_NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
        data += part
    folder.mkdir(exist_ok=True)
    write_raw(folder / SINGLE, header, data)
    return folder


def contents(folder: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The texts and the stored tensors of a checkpoint of one file."""
    source = Checkpoint(folder)
    header = json.loads(read_header_text(entry_file(folder))[0])
    return header.get("__metadata__", {}), {name: source.read(name) for name in header if name != "__metadata__"}


def peak_kib() -> int:
    """The most memory that this process held since reset_peak_kib()."""
    return int(re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[0])


def reset_peak_kib() -> int:
    """Forget what was held before, or earlier peaks would hide later ones. Returns what is held now."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_kib()


def read_all(folder: Path) -> dict[str, Tensor]:
    """Open, read every tensor, write all of them dense. Sees to it that no refusal was an allocation that failed."""
    before = reset_peak_kib()
    try:
        source = open_checkpoint(folder)
        tensors = {name: source.read(name) for name in source.tensors}
        for name, tensor in tensors.items():
            assert (tensor.dtype, tuple(tensor.shape)) == (source.tensors[name].dtype, source.tensors[name].shape)
        if type(source) is not Checkpoint:
            again = unpack_checkpoint(folder, folder / "again")
            assert again.tensors.keys() == tensors.keys()
    except FmcompressError as error:
        text = str(error)
        assert "allocate" not in text, text
        assert "layer." in text or SINGLE in text or str(folder) in text, text
        assert not (folder / "again").exists()
        raise
    finally:
        shutil.rmtree(folder / "again", ignore_errors=True)
        assert not (folder / "again.partial").exists()
        assert peak_kib() - before < 100_000, "100 MB for a few KB"
    return tensors


def survives(folder: Path) -> bool:
    """Whether it reads; any other end than being refused fails the test."""
    try:
        read_all(folder)
    except FmcompressError:
        return False
    return True


@st.composite
def damaged(draw: st.DrawFn, octets: bytes) -> bytes:
    """A safetensors file with a few changes anywhere, half of them in its header."""
    changed, header = bytearray(octets), 8 + int.from_bytes(octets[:8], "little")
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(changed) - 1) | st.integers(0, min(header, len(changed) - 1)))
        kind = draw(st.sampled_from(["flip", "cut", "drop", "insert", "digit"]))
        if kind == "flip":
            changed[place] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del changed[max(9, place) :]
        elif kind == "drop":
            del changed[max(9, place) : place + draw(st.integers(1, 16))]
        elif kind == "insert":
            changed[place:place] = draw(st.binary(min_size=1, max_size=8))
        else:
            changed[place] = draw(st.sampled_from(b'0123456789-"[]{},'))
    return bytes(changed)
