"""Embeddings and what belongs to them, as files: never pickled, written whole or not at all, mapped when read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CheckpointError, ConfigError, in_one_line
from .embedding_set import SPLITS, EmbeddingSet
from .lists import read_labels, read_names, read_templates
from .vectors import Labels, Matrix, normalised

__all__ = [
    "read_embeddings", "read_labels", "read_names", "read_templates", "require_rows", "require_same_model",
    "write_embeddings",
]  # fmt: skip

FORMAT = "fmcompress-embeddings 1"
NUMPY = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "I64": "<i8", "U8": "u1"}
CHUNK_ROWS = 65536


def read_embeddings(path: str | Path, *, normalise: bool = False) -> EmbeddingSet:
    """Embeddings of a .npy or .safetensors file; the vectors stay mapped unless they must change.

    A .npy file holds vectors alone, a foreign .safetensors file one matrix of floats; what write_embeddings wrote comes
    back as it was. float16 becomes float32.

    normalise  give rows length 1; without it rows of another length are an error

    Raises ConfigError for another suffix or a matrix that is none of embeddings, CheckpointError for a damaged file.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"{path}: no such file. Give embeddings as .npy or .safetensors.")
    if path.suffix == ".npy":
        vectors, rest = _read_npy(path), dict[str, Any]()
    elif path.suffix == ".safetensors":
        vectors, rest = _read_safetensors(path)
    else:
        raise ConfigError(f"{path}: expected embeddings as .npy or .safetensors.")
    if vectors.dtype == np.float16:
        vectors = vectors.astype(np.float32)
    try:
        return EmbeddingSet(normalised(vectors) if normalise and vectors.ndim == 2 else vectors, **rest)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def write_embeddings(path: str | Path, found: EmbeddingSet) -> None:
    """Write a .safetensors file, whole or not at all. Raises ConfigError for another suffix, DiskError."""
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ConfigError(f"{path}: expected a name that ends in .safetensors to write embeddings to.")
    write_tensors(path, _arrays(found), _metadata(found))


def write_tensors(path: Path, arrays: Mapping[str, Matrix], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file, synced, whole or not at all. Raises DiskError."""
    from ..checkpoint import sync, write_error
    from ..checkpoint.layout import write_header

    kinds = {np.dtype(numpy): name for name, numpy in NUMPY.items()}
    layout = {name: (kinds[array.dtype], array.shape, array.nbytes) for name, array in arrays.items()}
    growing = path.with_name(f"{path.name}.partial")
    try:
        with growing.open("wb") as file:
            for name in write_header(file, layout, metadata):
                for begin in range(0, len(arrays[name]), CHUNK_ROWS):
                    file.write(np.ascontiguousarray(arrays[name][begin : begin + CHUNK_ROWS]).data)
        sync(growing)
        growing.replace(path)
    except OSError as error:
        growing.unlink(missing_ok=True)
        raise write_error(path, error) from None


def map_tensor(path: Path, entry: Any) -> Matrix:
    """A tensor of a safetensors file where it lies, read only, by its TensorEntry."""
    from ..checkpoint.layout import DTYPE_NAMES

    name = DTYPE_NAMES[entry.dtype]
    if name not in NUMPY:
        raise ConfigError(f"{path}: tensor {entry.name!r} is of {name}. Expected one of {', '.join(NUMPY)}.")
    if not entry.size_bytes:  # nothing to map
        return np.empty(entry.shape, NUMPY[name])
    return np.asarray(np.memmap(path, NUMPY[name], "r", entry.offset, entry.shape))


def _read_npy(path: Path) -> Matrix:
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise CheckpointError(f"{path}: no array that numpy reads without pickle ({in_one_line(error)}).") from None


def _read_safetensors(path: Path) -> tuple[Matrix, dict[str, Any]]:
    from ..checkpoint.layout import read_header, read_metadata

    entries, metadata = read_header(path), read_metadata(path)
    if metadata.get("format") != FORMAT:
        matrices = [e for e in entries.values() if len(e.shape) == 2 and e.dtype.is_floating_point]
        if len(matrices) != 1:
            raise ConfigError(
                f"{path}: expected one matrix of floats, got {len(matrices)}. Write embeddings with fmcompress clip "
                "embed or fmcompress.clip.files.write_embeddings."
            )
        return map_tensor(path, matrices[0]), {}
    try:
        rest: dict[str, Any] = {"identity": dict(json.loads(metadata["identity"]))}
        for key in ("logit_scale", "logit_bias"):
            number = json.loads(metadata[key])
            rest[key] = None if number is None else float(number)
        rest |= {key: tuple(json.loads(metadata[key])) for key in ("classes", "group_names")}
        vectors = map_tensor(path, entries["embeddings"])
        for key in ("labels", "groups"):
            rest[key] = np.array(map_tensor(path, entries[key])) if key in entries else None
        if "names" in entries:
            rest["names"] = tuple(json.loads(map_tensor(path, entries["names"]).tobytes()))
        if "splits" in entries:
            rest["splits"] = tuple(SPLITS[number] for number in map_tensor(path, entries["splits"]))
    except (KeyError, ValueError, TypeError, IndexError, RecursionError) as error:
        raise CheckpointError(f"{path}: damaged: {type(error).__name__} {in_one_line(error)}. Embed again.") from None
    return vectors, rest


def _arrays(found: EmbeddingSet) -> dict[str, Matrix]:
    arrays: dict[str, Matrix] = {"embeddings": found.vectors}
    if found.names:
        arrays["names"] = np.frombuffer(json.dumps(found.names).encode(), np.uint8)
    if found.splits:
        arrays["splits"] = np.array([SPLITS.index(split) for split in found.splits], np.uint8)
    for key, numbers in (("labels", found.labels), ("groups", found.groups)):
        if numbers is not None:
            arrays[key] = np.asarray(numbers, np.int64)
    return arrays


def _metadata(found: EmbeddingSet) -> Mapping[str, str]:
    keys = ("identity", "logit_scale", "logit_bias", "classes", "group_names")
    return {"format": FORMAT, **{key: json.dumps(getattr(found, key)) for key in keys}}


def require_same_model(one: EmbeddingSet, other: EmbeddingSet, names: tuple[str, str] = ("images", "text")) -> None:
    """ConfigError unless two sets may be compared: of one width and, where that is known of both, of one model."""
    ours, theirs = one.vectors.shape[1], other.vectors.shape[1]
    if ours != theirs:
        raise ConfigError(
            f"{names[1]}: expected {ours} columns as of the {names[0]}, got {theirs}. Embed both by one model."
        )
    if one.identity and other.identity and one.identity != other.identity:
        keys = [*one.identity, *(key for key in other.identity if key not in one.identity)]
        key = next(key for key in keys if one.identity.get(key) != other.identity.get(key))
        raise ConfigError(
            f"{names[1]}: expected embeddings of the model that the {names[0]} are of, but {key} is "
            f"{in_one_line(other.identity.get(key), 80)}, not {in_one_line(one.identity.get(key), 80)}. "
            "Embed both by one model."
        )


def require_rows(found: EmbeddingSet, what: str) -> Labels:
    """The labels of a set of which every row must have one. Raises ConfigError that says how many have none."""
    if found.labels is None:
        raise ConfigError(f"{what}: no labels. Give them with --labels, or images in one folder for each class.")
    unknown = int((found.labels < 0).sum())
    if unknown:
        raise ConfigError(f"{what}: {unknown} of {len(found)} rows have no label. Leave them out, or label them.")
    return found.labels
