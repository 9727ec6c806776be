"""The cache of embeddings: computed once, resumed after a kill, told when damaged, never of two models."""

import json
import os

import numpy as np
import pytest
from clip_cases import HashEncoder
from safetensors.numpy import load_file, save_file

from fmcompress.clip import EmbeddingCache
from fmcompress.clip import cache_store as store
from fmcompress.clip.cache import CachedEncoder
from fmcompress.errors import CheckpointError, ConfigError, DiskError

TEXTS = [f"text {number}" for number in range(10)]


def shards(folder):
    return sorted(folder.rglob("*.safetensors"))


def test_each_item_is_computed_once(tmp_path):
    encoder, steps = HashEncoder(), []
    cache = EmbeddingCache(tmp_path, flush_items=4)
    rows = cache.embed(encoder, [*TEXTS, TEXTS[3]], "text", lambda *at: steps.append(at))
    assert (rows == HashEncoder().encode_text([*TEXTS, TEXTS[3]])).all()
    assert (len(encoder.asked), len(shards(tmp_path))) == (10, 3)
    assert steps == [(0, 10), (4, 10), (8, 10), (10, 10)]
    again = EmbeddingCache(tmp_path).embed(encoder, [TEXTS[7], "new", TEXTS[0]], "text")
    assert (again[[0, 2]] == rows[[7, 0]]).all()
    assert encoder.asked[10:] == [b"new"]
    assert cache.verify() == 11


def test_images_are_known_by_their_bytes(tmp_path):
    for name, content in {"a": b"1", "b": b"2", "same as a": b"1"}.items():
        (tmp_path / name).write_bytes(content)
    paths, encoder, cache = (
        [tmp_path / name for name in ("a", "b", "same as a")],
        HashEncoder(),
        EmbeddingCache(tmp_path / "cache"),
    )
    rows = cache.embed(encoder, paths)
    assert ((rows[0] == rows[2]).all(), encoder.asked) == (True, [b"1", b"2"])
    (tmp_path / "a").write_bytes(b"3")  # a changed file is another image
    assert (cache.embed(encoder, paths)[0] != rows[0]).any()
    assert encoder.asked == [b"1", b"2", b"3"]
    with pytest.raises(DiskError, match="absent: cannot be read"):
        cache.embed(encoder, [tmp_path / "absent"])


def test_a_text_is_no_image(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    encoder, cache = HashEncoder(), EmbeddingCache(tmp_path / "cache")
    cache.embed(encoder, [tmp_path / "a"], "image")
    cache.embed(encoder, ["1"], "text")
    assert encoder.asked == [b"1", b"1"]
    with pytest.raises(ConfigError, match="kind: expected image or text"):
        cache.embed(encoder, ["1"], "sound")


def test_an_interrupted_run_goes_on(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        EmbeddingCache(tmp_path, flush_items=3).embed(HashEncoder(fail_after=7), TEXTS, "text")
    encoder = HashEncoder()
    rows = EmbeddingCache(tmp_path, flush_items=3).embed(encoder, TEXTS, "text")
    assert encoder.asked == [text.encode() for text in TEXTS[6:]]
    assert (rows == HashEncoder().encode_text(TEXTS)).all()


@pytest.mark.parametrize("step", ["write_tensors", "write_json", "sync"])
def test_a_killed_process_leaves_only_what_is_whole(tmp_path, monkeypatch, step):
    """It dies in its third shard: before it, between it and the manifest, and after both."""
    child = os.fork()
    if child == 0:
        calls, real = [], getattr(store, step)

        def dying(*args):
            calls.append(args)
            if len(calls) == 3:
                (args[0].parent / "000002.safetensors.partial").write_bytes(b"half")
                os._exit(9)
            return real(*args)

        monkeypatch.setattr(store, step, dying)
        EmbeddingCache(tmp_path, flush_items=3).embed(HashEncoder(), TEXTS, "text")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    whole = 9 if step == "sync" else 6
    assert EmbeddingCache(tmp_path).verify() == whole
    encoder = HashEncoder()
    rows = EmbeddingCache(tmp_path, flush_items=3).embed(encoder, TEXTS, "text")
    assert (rows == HashEncoder().encode_text(TEXTS)).all()
    assert len(encoder.asked) == 10 - whole
    assert EmbeddingCache(tmp_path).verify() == 10


def test_two_processes_fill_one_cache(tmp_path):
    children = []
    for part in (TEXTS[:6], TEXTS[4:]):
        child = os.fork()
        if child == 0:
            EmbeddingCache(tmp_path, flush_items=1).embed(HashEncoder(), part, "text")
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    EmbeddingCache(tmp_path).verify()
    encoder = HashEncoder()
    assert (EmbeddingCache(tmp_path).embed(encoder, TEXTS, "text") == HashEncoder().encode_text(TEXTS)).all()
    assert not encoder.asked


def test_each_model_has_a_place_of_its_own(tmp_path):
    cache = EmbeddingCache(tmp_path)
    for model in ("one", "other"):
        encoder = HashEncoder(model)
        cache.embed(encoder, TEXTS, "text")
        assert len(encoder.asked) == 10
    assert cache.verify() == 20
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 2


def place_of(tmp_path):
    EmbeddingCache(tmp_path).embed(HashEncoder(), TEXTS, "text")
    (shard,) = shards(tmp_path)
    return shard


def embed_again(tmp_path):
    return EmbeddingCache(tmp_path).embed(HashEncoder(), TEXTS, "text")


def test_a_shard_of_another_model_is_told(tmp_path):
    shard = place_of(tmp_path / "a")
    EmbeddingCache(tmp_path / "b").embed(HashEncoder("other"), TEXTS, "text")
    shard.write_bytes(shards(tmp_path / "b")[0].read_bytes())
    with pytest.raises(CheckpointError, match=r"000000\.safetensors: is of another model\. Remove the folder"):
        embed_again(tmp_path / "a")
    manifest = next((tmp_path / "b").rglob("manifest.json"))
    (shard.parent / "manifest.json").write_bytes(manifest.read_bytes())
    with pytest.raises(CheckpointError, match=r"manifest\.json: is of another model"):
        embed_again(tmp_path / "a")
    with pytest.raises(CheckpointError, match="lies in the folder of another model"):
        EmbeddingCache(tmp_path / "a").verify()


def test_a_damaged_shard_is_told(tmp_path):
    shard = place_of(tmp_path)
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-5])
    with pytest.raises(CheckpointError, match="cut short"):
        embed_again(tmp_path)
    shard.unlink()
    with pytest.raises(CheckpointError, match=r"000000\.safetensors: .*no such file.* Remove the folder"):
        embed_again(tmp_path)
    arrays = load_file(place_of(tmp_path / "b"))
    metadata = {"format": store.FORMAT, "identity": store.read_manifest(shard.parent)["identity"]["model"]}
    save_file({name: array[:3] for name, array in arrays.items()}, shard, metadata)
    with pytest.raises(CheckpointError):
        embed_again(tmp_path)
    shard.write_bytes(whole)
    middle = whole.index(HashEncoder().encode_text(["text 5"]).tobytes())
    shard.write_bytes(whole[:middle] + b"\x7f" * 8 + whole[middle + 8 :])
    with pytest.raises(CheckpointError, match="holds rows that are not of length 1"):
        embed_again(tmp_path)
    shard.write_bytes(whole[:middle] + np.float32(0.3).tobytes() + whole[middle + 4 :])
    with pytest.raises(CheckpointError, match="holds other bytes than were written"):
        EmbeddingCache(tmp_path).verify()


@pytest.mark.parametrize(
    "change", [{"format": "x 2"}, {"shards": 3}, {"shards": [{"file": "../a", "rows": 1, "sha256": ""}]}]
)
def test_a_damaged_manifest_is_told(tmp_path, change):
    manifest = place_of(tmp_path).parent / "manifest.json"
    facts = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**facts, **change}))
    with pytest.raises(CheckpointError, match=r"manifest\.json"):
        embed_again(tmp_path)
    manifest.write_text("{")
    with pytest.raises(CheckpointError, match=r"manifest\.json: does not parse"):
        embed_again(tmp_path)


def test_what_an_encoder_gives_must_be_embeddings(tmp_path):
    encoder = HashEncoder()
    encoder.encode_text = lambda texts: np.full((len(texts), 8), np.nan, np.float32)
    with pytest.raises(ConfigError, match="embeddings: expected finite numbers"):
        EmbeddingCache(tmp_path).embed(encoder, TEXTS, "text")
    assert not shards(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file"):
        EmbeddingCache(tmp_path / "file")


def test_nothing_asked_is_nothing_done(tmp_path):
    assert EmbeddingCache(tmp_path / "c").embed(HashEncoder(), [], "text").shape == (0, 8)
    assert not (tmp_path / "c").exists()
    assert EmbeddingCache(tmp_path / "c").verify() == 0


def test_a_cached_encoder_asks_once(tmp_path):
    encoder = HashEncoder()
    cached = CachedEncoder(encoder, EmbeddingCache(tmp_path / "cache"))
    texts = ["a", "b", "a"]
    first = cached.encode_text(texts)
    assert np.array_equal(first, HashEncoder().encode_text(texts))
    assert np.array_equal(cached.encode_text(["b"]), first[1:2])
    assert len(encoder.asked) == 2
    assert (cached.dim, cached.identity, cached.logit_scale) == (encoder.dim, encoder.identity, 100.0)
    assert cached.notes == []
    encoder.notes = ["cut"]
    assert cached.notes == ["cut"]
