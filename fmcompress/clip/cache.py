"""Embeddings that were computed once: by model and content, resumable, never of two models in one place."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from ..errors import ConfigError
from ..files import sha256_of
from .cache_store import MANIFEST, Store, read_manifest
from .encoders import Encoder
from .vectors import Matrix, as_matrix

Kind = Literal["image", "text"]


class EmbeddingCache:
    """A folder of embeddings, with one folder in it for each identity of a model.

    An embedding is found by the sha256 of the model's identity and that of the item: an image's file, or a text. What
    the manifest names is whole; a run that is killed loses at most its last `flush_items` items. Several processes may
    use one cache.

    Raises ConfigError where the folder is a file.
    """

    def __init__(self, folder: str | Path, *, flush_items: int = 1024) -> None:
        self.folder, self.flush_items = Path(folder), flush_items
        if flush_items < 1:
            raise ConfigError(f"flush_items: expected at least 1, got {flush_items}.")
        if self.folder.exists() and not self.folder.is_dir():
            raise ConfigError(f"{self.folder}: is a file. Give a folder for the cache.")

    def embed(
        self,
        encoder: Encoder,
        items: Sequence[Any],
        kind: Kind = "image",
        progress: Callable[[int, int], None] | None = None,
    ) -> Matrix:
        """The items' embeddings [items, dim] float32: those that are missing are computed, and kept.

        items     paths of images, Pillow's images, or texts; equal ones are computed once
        progress  is told how many of all different items are there

        Raises CheckpointError if a shard is damaged or of another model, DiskError, and what the encoder raises.
        """
        if kind not in ("image", "text"):
            raise ConfigError(f"kind: expected image or text, got {kind!r}.")
        encode: Callable[[Any], Matrix] = encoder.encode_images if kind == "image" else encoder.encode_text
        keys = [item_key(item, kind) for item in items]
        unique = dict(zip(keys, items, strict=True))
        store = self._store(encoder.identity, encoder.dim)
        missing = [key for key in unique if key not in store]
        done = len(unique) - len(missing)
        for begin in range(0, len(missing), self.flush_items):
            if progress:
                progress(done + begin, len(unique))
            part = missing[begin : begin + self.flush_items]
            rows = as_matrix(encode([unique[key] for key in part]), "embeddings", encoder.dim)
            store.append(part, rows)
        if progress:
            progress(len(unique), len(unique))
        return store.gather(keys)

    def verify(self) -> int:
        """Read all of every model's shards; how many embeddings there are.

        Raises CheckpointError that names the first shard or manifest that is damaged, or of another model.
        """
        places = sorted(path for path in self.folder.glob("*") if (path / MANIFEST).exists())
        return sum(self._opened(place).verify() for place in places)

    def _opened(self, place: Path) -> Store:
        facts = read_manifest(place)
        return Store(place, identity_key(facts["identity"]), facts["identity"], facts["dim"])

    def _store(self, identity: dict[str, Any], dim: int) -> Store:
        key = identity_key(identity)
        return Store(self.folder / key[:32], key, identity, dim)


class CachedEncoder:
    """An encoder that computes what a cache does not have yet. See Encoder."""

    def __init__(self, encoder: Encoder, cache: EmbeddingCache) -> None:
        self.encoder, self.cache = encoder, cache
        self.dim, self.identity = encoder.dim, encoder.identity
        self.logit_scale, self.logit_bias = encoder.logit_scale, encoder.logit_bias

    @property
    def notes(self) -> list[str]:
        """The encoder's."""
        return list(getattr(self.encoder, "notes", ()))

    def encode_text(self, texts: Sequence[str]) -> Matrix:
        """[texts, dim]; which texts are cut is noted of those in the cache, too."""
        if hasattr(self.encoder, "look_at"):
            self.encoder.look_at(texts)
        return self.cache.embed(self.encoder, texts, "text")

    def encode_images(self, images: Sequence[Path | Any]) -> Matrix:
        """[images, dim]"""
        return self.cache.embed(self.encoder, images, "image")


def identity_key(identity: dict[str, Any]) -> str:
    """sha256 of an encoder's identity, in hexadecimal digits."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def item_key(item: Any, kind: Kind) -> bytes:
    """sha256 of an item: the bytes of a file, the pixels of an image in memory, or a text. Raises DiskError."""
    if kind == "text":
        return hashlib.sha256(b"text\0" + str(item).encode("utf-8", "surrogatepass")).digest()
    if isinstance(item, str | Path):
        return hashlib.sha256(b"file\0" + sha256_of(Path(item))).digest()
    seen = item.convert("RGB")  # as the encoder takes it: a palette decides what its pixels are
    return hashlib.sha256(f"pixels\0{seen.size}".encode() + seen.tobytes()).digest()
