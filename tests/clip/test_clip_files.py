"""Embeddings as files: what is written comes back, mapped; what is damaged, pickled or of another model is told."""

import json
import pickle
from dataclasses import fields, replace

import numpy as np
import pytest
from clip_cases import unit_rows
from safetensors.numpy import load_file, save_file

from fmcompress.clip import EmbeddingSet, read_embeddings, write_embeddings
from fmcompress.clip.files import CHUNK_ROWS, require_same_model
from fmcompress.errors import CheckpointError, ConfigError, DiskError


def full_set(dtype=np.float32):
    return EmbeddingSet(
        unit_rows(3, dtype=dtype), ("cat/ä.png", "a\nb", "c"), np.array([0, 1, -1]), ("x", "y"), np.array([1, 0, 0]),
        ("g", "h"), ("train", "test", "val"), {"model": "m", "version": 1}, 100.0, -12.9,
    )  # fmt: skip


def same(one, other):
    return all(np.array_equal(getattr(one, field.name), getattr(other, field.name)) for field in fields(EmbeddingSet))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_set_comes_back_as_it_was_and_mapped(tmp_path, dtype):
    write_embeddings(tmp_path / "a.safetensors", full_set(dtype))
    found = read_embeddings(tmp_path / "a.safetensors")
    assert same(found, full_set(dtype))
    assert found.vectors.dtype == dtype
    assert isinstance(found.vectors.base, np.memmap)
    assert not found.vectors.flags.writeable
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_what_is_unknown_comes_back_unknown(tmp_path):
    bare = EmbeddingSet(unit_rows(CHUNK_ROWS + 3, 2))
    write_embeddings(tmp_path / "a.safetensors", bare)
    assert same(read_embeddings(tmp_path / "a.safetensors"), bare)
    empty = EmbeddingSet(np.empty((0, 4), np.float32))
    write_embeddings(tmp_path / "a.safetensors", empty)
    assert read_embeddings(tmp_path / "a.safetensors").vectors.shape == (0, 4)


def test_others_read_the_file(tmp_path):
    write_embeddings(tmp_path / "a.safetensors", full_set())
    arrays = load_file(tmp_path / "a.safetensors")
    assert (arrays["embeddings"] == full_set().vectors).all()
    assert json.loads(arrays["names"].tobytes()) == list(full_set().names)


def test_files_of_others_are_read(tmp_path):
    rows = unit_rows(4)
    np.save(tmp_path / "a.npy", rows.astype(np.float16))
    save_file({"whatever": rows, "ids": np.arange(4)}, tmp_path / "b.safetensors")
    assert abs(read_embeddings(tmp_path / "a.npy").vectors - rows).max() < 1e-3
    assert (read_embeddings(tmp_path / "b.safetensors").vectors == rows).all()
    np.save(tmp_path / "c.npy", 10 * rows)
    with pytest.raises(ConfigError, match=r"c\.npy: embeddings: expected rows of length 1.*--normalise"):
        read_embeddings(tmp_path / "c.npy")
    assert abs(read_embeddings(tmp_path / "c.npy", normalise=True).vectors - rows).max() < 1e-6


def test_pickles_are_never_read(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"evil": 1}], object), allow_pickle=True)
    (tmp_path / "b.npy").write_bytes(pickle.dumps(unit_rows(2)))
    for name in ("a.npy", "b.npy"):
        with pytest.raises(CheckpointError, match="no array that numpy reads without pickle"):
            read_embeddings(tmp_path / name)


def test_damage_is_told(tmp_path):
    path = tmp_path / "a.safetensors"
    write_embeddings(path, full_set())
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    with pytest.raises(CheckpointError, match="cut short"):
        read_embeddings(path)
    for before, after in ((b'\\"g\\"', b'\\"g\\\\'), (b'"embeddings"', b'"embeddingz"'), (b'["cat', b'{"cat')):
        assert whole.count(before)
        path.write_bytes(whole.replace(before, after))
        with pytest.raises(CheckpointError, match=r"a\.safetensors"):
            read_embeddings(path)
    for cut in range(0, len(whole), 37):
        path.write_bytes(whole[:cut])
        with pytest.raises(CheckpointError):
            read_embeddings(path)


def test_other_files_are_refused(tmp_path):
    save_file({"a": unit_rows(2), "b": unit_rows(2)}, tmp_path / "two.safetensors")
    (tmp_path / "a.pt").write_bytes(b"")
    np.save(tmp_path / "flat.npy", np.ones(3))
    for name, told in {
        "two.safetensors": "expected one matrix of floats, got 2",
        "a.pt": r"expected embeddings as \.npy or \.safetensors",
        "absent.npy": "no such file",
        "flat.npy": r"expected a matrix \[rows, dim\]",
    }.items():
        with pytest.raises(ConfigError, match=told):
            read_embeddings(tmp_path / name, normalise=True)
    with pytest.raises(ConfigError, match=r"ends in \.safetensors"):
        write_embeddings(tmp_path / "a.npy", full_set())
    with pytest.raises(DiskError, match="cannot be written"):
        write_embeddings(tmp_path / "no" / "a.safetensors", full_set())


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    write_embeddings(path, full_set())
    before = path.read_bytes()

    def full_disk(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fmcompress.checkpoint.sync", full_disk)
    with pytest.raises(DiskError, match="the disk is full"):
        write_embeddings(path, EmbeddingSet(unit_rows(2)))
    assert path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_sets_of_two_models_do_not_mix():
    one = full_set()
    require_same_model(one, replace(one, vectors=unit_rows(3, seed=9)))
    require_same_model(one, EmbeddingSet(unit_rows(2)))  # of unknown origin: the user's word is taken
    with pytest.raises(ConfigError, match="text: expected 8 columns as of the images, got 9"):
        require_same_model(one, EmbeddingSet(unit_rows(2, 9)))
    with pytest.raises(ConfigError, match="but model is n, not m"):
        require_same_model(one, replace(one, identity={"model": "n", "version": 1}))
    with pytest.raises(ConfigError, match="but revision is abc, not None"):
        require_same_model(one, replace(one, identity={**one.identity, "revision": "abc"}))


@pytest.mark.parametrize(
    "changed",
    [{"classes": "[1, 2]"}, {"classes": '["a", "a"]'}, {"classes": "[]"}, {"logit_scale": '"x"'}, {"identity": "[1]"}],
)
def test_what_a_stranger_wrote_beside_the_embeddings_is_checked(tmp_path, changed):
    from safetensors import safe_open
    from safetensors.numpy import save_file

    path = tmp_path / "e.safetensors"
    write_embeddings(path, EmbeddingSet(np.eye(2), labels=np.array([0, 1]), classes=("a", "b"), logit_scale=2.0))
    with safe_open(str(path), "np") as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    save_file(tensors, path, {**metadata, **changed})
    with pytest.raises((ConfigError, CheckpointError), match=r"e\.safetensors"):
        read_embeddings(path)


def test_names_of_files_that_are_no_utf8_stay_apart(tmp_path):
    names = ("\udcff.png", "\udcfe.png")
    write_embeddings(tmp_path / "e.safetensors", EmbeddingSet(np.eye(2), names=names))
    assert read_embeddings(tmp_path / "e.safetensors").names == names
