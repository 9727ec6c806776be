"""Untrusted safetensors bytes: read as the safetensors library reads them, or refused with the file's name."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import make_checkpoint, write_raw
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from fmcompress.checkpoint import Checkpoint
from fmcompress.checkpoint.layout import DTYPES, INDEX, SINGLE, read_header, read_layout
from fmcompress.errors import CheckpointError

F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def second(**changes: Any) -> dict[str, Any]:
    """A header of two tensors of 8 bytes, the second one changed."""
    return {"a": F32, "b": {**F32, "data_offsets": [8, 16], **changes}}


MALFORMED: dict[str, tuple[Any, bytes]] = {
    "empty header": (b"", b""),
    "garbage instead of JSON": (b"\xff\x00{{{ nothing", b""),
    "JSON cut short": (b'{"a": {"dtype": "F32"', b""),
    "JSON list": ([1, 2], b""),
    "JSON nested too deeply": (b"[" * 100_000, b""),
    "JSON number of 5000 digits": (b'{"a":' + b"9" * 5000 + b"}", b""),
    "entry is no object": ({"a": 7}, b""),
    "fields missing": ({"a": {"dtype": "F32"}}, b""),
    "overlapping offsets": (second(data_offsets=[4, 12]), bytes(16)),
    "same offsets": (second(data_offsets=[0, 8]), bytes(8)),
    "gap": (second(data_offsets=[12, 20]), bytes(20)),
    "gap before the first": ({"a": {**F32, "data_offsets": [4, 12]}}, bytes(12)),
    "unknown dtype": (second(dtype="F128"), bytes(16)),
    "dtype is a list": (second(dtype=["F32"]), bytes(16)),
    "wrong dtype for the bytes": (second(dtype="F64"), bytes(16)),
    "negative shape": (second(shape=[-1, -2]), bytes(16)),
    "negative offset": (second(data_offsets=[-8, 0]), bytes(16)),
    "end before begin": (second(data_offsets=[16, 8]), bytes(16)),
    "fractional shape": (second(shape=[2.0]), bytes(16)),
    "boolean shape": (second(shape=[True, 2]), bytes(16)),
    "shape is a string": (second(shape="2"), bytes(16)),
    "three offsets": (second(data_offsets=[8, 12, 16]), bytes(16)),
    "data cut short": (second(), bytes(15)),
    "data too long": (second(), bytes(17)),
    "no data at all": (second(), b""),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_file_is_refused_by_name(tmp_path: Path, case: str) -> None:
    path = write_raw(tmp_path / SINGLE, *MALFORMED[case])
    with pytest.raises(CheckpointError, match=SINGLE):
        Checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match=SINGLE):
        read_header(path)


@pytest.mark.parametrize("length", [0, 7, 8, 100])
def test_file_shorter_than_its_header(tmp_path: Path, length: int) -> None:
    path = tmp_path / SINGLE
    path.write_bytes(((1 << 40).to_bytes(8, "little") + bytes(92))[:length])
    with pytest.raises(CheckpointError, match=f"{SINGLE}: not a safetensors file or cut short"):
        read_header(path)


@pytest.mark.parametrize("keep", [1, 8, 200, -1])
def test_truncated_real_file(tmp_path: Path, keep: int) -> None:
    path = make_checkpoint(tmp_path / "model", blocks=1) / SINGLE
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=SINGLE):
        Checkpoint(tmp_path / "model")


@pytest.mark.parametrize("name", DTYPES)
def test_agrees_with_the_safetensors_library(tmp_path: Path, name: str) -> None:
    dtype = DTYPES[name]
    tensors = {}
    for key, shape in {
        "scalar": (),
        "row": (5,),
        "matrix": (3, 7),
        "empty": (0, 4),
        "übergröße 4d": (1, 2, 3, 2),
    }.items():
        values = torch.randint(0, 2, shape) if dtype == torch.bool else torch.randn(shape, dtype=torch.float64) * 9
        tensors[key] = values.to(dtype)
    save_file(tensors, tmp_path / SINGLE, metadata={"format": "pt"})
    checkpoint = Checkpoint(tmp_path)
    with safe_open(tmp_path / SINGLE, "pt") as theirs:
        assert set(checkpoint.tensors) == set(theirs.keys())
        for key in tensors:
            want, got = theirs.get_tensor(key), checkpoint.read(key)
            assert (got.dtype, got.shape) == (want.dtype, want.shape)
            assert got.view(-1).view(torch.uint8).equal(want.view(-1).view(torch.uint8))
            assert checkpoint.tensors[key].shape == tuple(want.shape)
            assert checkpoint.tensors[key].dtype == want.dtype


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("layout") / "model", blocks=3, shards=3, dtype=torch.bfloat16)


@pytest.fixture
def model(sharded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sharded, tmp_path / "model"))


def rewrite_index(model: Path, change: Any) -> None:
    index = json.loads((model / INDEX).read_text())
    change(index["weight_map"])
    (model / INDEX).write_text(json.dumps(index))


def test_sharded_checkpoint_agrees_with_its_index(model: Path) -> None:
    places = json.loads((model / INDEX).read_text())["weight_map"]
    entries = read_layout(model)
    assert {name: entry.path.name for name, entry in entries.items()} == places
    assert len(Checkpoint(model).shards) == len(set(places.values())) >= 2
    assert Checkpoint(model).total_bytes == json.loads((model / INDEX).read_text())["metadata"]["total_size"]


def test_missing_shard_is_named(model: Path) -> None:
    gone = Checkpoint(model).shards[1]
    gone.unlink()
    with pytest.raises(CheckpointError, match=f"{gone.name}: no such file"):
        Checkpoint(model)


def test_index_naming_absent_tensors(model: Path) -> None:
    rewrite_index(model, lambda places: places.update({"model.ghost.weight": next(iter(places.values()))}))
    with pytest.raises(CheckpointError, match=rf"{INDEX}: names 1 absent tensor\(s\), first 'model.ghost.weight'"):
        Checkpoint(model)


def test_index_that_leaves_a_tensor_out(model: Path) -> None:
    rewrite_index(model, lambda places: places.pop("model.norm.weight"))
    with pytest.raises(CheckpointError, match=r"holds tensor 'model\.norm\.weight'"):
        Checkpoint(model)


def test_index_that_places_a_tensor_elsewhere(model: Path) -> None:
    def move(places: dict[str, str]) -> None:
        places["model.norm.weight"] = next(shard for shard in places.values() if shard != places["model.norm.weight"])

    rewrite_index(model, move)
    with pytest.raises(CheckpointError, match=r"safetensors: holds tensor 'model\.norm\.weight'"):
        Checkpoint(model)


@pytest.mark.parametrize("file", ["../x", "..", ".", "", "/etc/passwd", "a/b.safetensors", 7, None, "a\0b", "\ud800"])
def test_index_naming_other_places(model: Path, file: Any) -> None:
    (model.parent / "x").write_bytes(Checkpoint(model).shards[0].read_bytes())
    rewrite_index(model, lambda places: places.update({"model.norm.weight": file}))
    with pytest.raises(CheckpointError):
        Checkpoint(model)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": []}', '{"weight_map": 1}', "[" * 100_000, "\xff{"])
def test_malformed_index(model: Path, text: str) -> None:
    (model / INDEX).write_bytes(text.encode("latin-1"))
    with pytest.raises(CheckpointError, match=INDEX):
        Checkpoint(model)


def test_folders_without_weights(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        Checkpoint(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="holds neither"):
        Checkpoint(tmp_path)
    (tmp_path / SINGLE).mkdir()
    with pytest.raises(CheckpointError, match=SINGLE):
        Checkpoint(tmp_path)


def read_all(folder: Path) -> None:
    checkpoint = Checkpoint(folder)
    for name in checkpoint.tensors:
        checkpoint.read(name)


NUMBER = st.one_of(st.integers(-2, 20), st.integers(2**62, 2**70), st.floats(), st.booleans(), st.none(), st.text())
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.one_of(st.sampled_from(sorted(DTYPES)), st.text(max_size=5), NUMBER),
        "shape": st.one_of(st.lists(NUMBER, max_size=3), st.text(max_size=3), NUMBER),
        "data_offsets": st.one_of(st.lists(NUMBER, max_size=3), NUMBER),
    },
)
HEADER = st.one_of(
    st.dictionaries(st.text(max_size=4), st.one_of(FIELDS, NUMBER), max_size=3), st.lists(NUMBER), NUMBER
)
ANY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@ANY
@given(data=st.binary(max_size=200))
def test_random_bytes_never_raise_anything_else(tmp_path: Path, data: bytes) -> None:
    (tmp_path / SINGLE).write_bytes(data)
    try:
        read_all(tmp_path)
    except CheckpointError as error:
        assert SINGLE in str(error)


@ANY
@given(header=HEADER, data=st.binary(max_size=40))
@example(header={"a": {"dtype": "F32", "shape": [0, 2**70], "data_offsets": [0, 0]}}, data=b"")
def test_random_headers_never_raise_anything_else(tmp_path: Path, header: Any, data: bytes) -> None:
    write_raw(tmp_path / SINGLE, header, data)
    try:
        read_all(tmp_path)
    except CheckpointError as error:
        assert SINGLE in str(error)


@ANY
@given(at=st.integers(0, 3000), value=st.integers(0, 255))
def test_a_flipped_byte_never_raises_anything_else(sharded: Path, tmp_path: Path, at: int, value: int) -> None:
    folder = tmp_path / "flipped"
    if not folder.exists():
        shutil.copytree(sharded, folder)
    source = sorted(sharded.glob("*.safetensors"))[0]
    data = bytearray(source.read_bytes())
    data[at] = value
    (folder / source.name).write_bytes(data)
    try:
        read_all(folder)
    except CheckpointError as error:
        assert source.name in str(error) or INDEX in str(error)
