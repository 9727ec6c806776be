"""Finished trainings in a folder, so that a recipe that was killed goes on: weights and facts, each written whole."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..checkpoint import Checkpoint, sync, write_error
from ..checkpoint.layout import DTYPE_NAMES, read_header, write_header
from ..errors import CheckpointError, ConfigError
from ..files import write_json
from ..merging.weights import Weights

RECIPE = "recipe.json"
Facts = dict[str, Any]


def digest(weights: Weights) -> str:
    """sha256 of names, dtypes, shapes and bytes; the order of the names means nothing."""
    sha = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name]
        sha.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        sha.update(_bytes(tensor))
    return sha.hexdigest()


class Kept:
    """The trainings of one recipe, in a folder: NAME.safetensors and, when that is whole, NAME.json.

    folder       is made; None keeps nothing
    fingerprint  what decides a bit of the weights, JSON; a folder of another recipe is refused

    Raises ConfigError for a folder of another recipe, DiskError if nothing can be written there.
    """

    def __init__(self, folder: Path | None, fingerprint: Mapping[str, Any]) -> None:
        self.folder = folder
        if folder is None:
            return
        try:
            wanted = json.loads(json.dumps(fingerprint))
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"settings: expected JSON, such as names, numbers and lists, got none ({error})."
            ) from None
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_error(folder, error) from None
        path = folder / RECIPE
        if not path.exists():
            if any(one.name != f"{RECIPE}.partial" for one in folder.iterdir()):  # killed before anything was kept
                raise ConfigError(f"{folder}: holds files, but no {RECIPE}. Choose an empty folder.")
            write_json(path, wanted)
            return
        written = _read_json(path)
        for key in sorted(wanted.keys() | written.keys()):
            if written.get(key) != wanted.get(key):
                raise ConfigError(
                    f"{folder}: {key} was {written.get(key)!r} in the trainings kept there and is "
                    f"{wanted.get(key)!r} now. Use the same, or another folder."
                )

    def has(self, name: str) -> bool:
        """Whether a training is finished."""
        return self.folder is not None and (self.folder / f"{name}.json").exists()

    def read(self, name: str) -> tuple[dict[str, Tensor], Facts] | None:
        """Weights and facts of a finished training, or None. Raises CheckpointError if they are damaged."""
        if self.folder is None or not self.has(name):
            return None
        facts, path = _read_json(self.folder / f"{name}.json"), self.folder / f"{name}.safetensors"
        weights = {key: Checkpoint.read_entry(entry) for key, entry in read_header(path).items()}
        if digest(weights) != facts.get("sha256"):
            raise CheckpointError(f"{path}: is not what its facts say. Remove {name}.json to train it anew.")
        return weights, facts

    def write(self, name: str, weights: Weights, facts: Facts) -> Facts:
        """Keep a training: its weights, then its facts, to which their hash is added. Raises DiskError."""
        facts = {**facts, "sha256": digest(weights)}
        if self.folder is None:
            return facts
        path = self.folder / f"{name}.safetensors"
        growing = path.with_name(f"{path.name}.partial")
        sizes = {n: (DTYPE_NAMES[t.dtype], tuple(t.shape), t.numel() * t.itemsize) for n, t in weights.items()}
        try:
            with growing.open("wb") as file:
                for part in write_header(file, sizes, {}):
                    file.write(_bytes(weights[part]))
            sync(growing)
            os.replace(growing, path)
        except OSError as error:
            growing.unlink(missing_ok=True)
            raise write_error(path, error) from None
        write_json(self.folder / f"{name}.json", facts)
        sync(self.folder)
        return facts


def _bytes(tensor: Tensor) -> Any:
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data


def _read_json(path: Path) -> Facts:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError, RecursionError):
        raise ConfigError(f"{path}: is no JSON object of a recipe. Remove it, or choose another folder.") from None
