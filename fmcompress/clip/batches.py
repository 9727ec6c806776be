"""What every encoder does alike: batches in, rows of length 1 out, and a hash of the files that decide them."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..calibration import read_image
from ..checkpoint.layout import FACTS
from ..errors import CalibrationError, ConfigError
from ..files import sha256_of
from .vectors import Matrix, normalised

DECIDING = (".safetensors", ".json", ".txt", ".model")  # endings of files that decide what a model computes
NOT_DECIDING = (FACTS, "generation_config.json")


def in_batches(
    items: Sequence[Any], compute: Callable[[list[Any]], Tensor], batch_size: int, dim: int, what: str
) -> Matrix:
    """[items, dim] float32, rows of length 1, of what `compute` makes of each batch.

    Raises ConfigError, with `what` in front, where a row is not finite, or all 0.
    """
    found = np.empty((len(items), dim), np.float32)
    for begin in range(0, len(items), batch_size):
        part = slice(begin, begin + batch_size)
        with torch.inference_mode():
            rows = compute(list(items[part])).float().cpu()
        wrong = ~torch.isfinite(rows).all(1) | (rows == 0).all(1)
        if wrong.any():
            raise ConfigError(
                f"{what}: of number {begin + int(wrong.int().argmax())} come numbers that are not finite, or all 0. "
                "Compute in float32, or fetch the model again."
            )
        found[part] = normalised(rows.numpy())
    return found


class CutTexts:
    """Of the texts that an encoder was asked for, those that are longer than it takes; each counts once."""

    def __init__(self) -> None:
        self._cut: dict[str, bool] = {}

    def look_at(self, texts: Sequence[str], is_cut: Callable[[list[str]], Sequence[bool]]) -> None:
        """is_cut  says of some texts which are too long; asked of new ones alone"""
        new = [text for text in dict.fromkeys(texts) if text not in self._cut]
        if new:
            self._cut.update(zip(new, is_cut(new), strict=True))

    def notes(self, longest: str) -> list[str]:
        """What a user should know of them. longest  what the model takes, in words"""
        cut = sum(self._cut.values())
        told = f"{cut} of {len(self._cut)} texts are longer than the model{longest}"
        return [f"{told}: their ends were cut"] if cut else []


def checked_dtype(dtype: str, batch_size: int) -> torch.dtype:
    """torch's dtype of that name. Raises ConfigError for others, and for a batch of nothing."""
    if dtype not in ("float32", "bfloat16", "float16"):
        raise ConfigError(f"dtype: expected float32, bfloat16 or float16, got {dtype!r}.")
    if batch_size < 1:
        raise ConfigError(f"batch size: expected at least 1, got {batch_size}.")
    return getattr(torch, dtype)  # type: ignore[no-any-return]


def as_image(image: Path | Any) -> Any:
    """A file, or an image in memory, as Pillow's image in RGB. Raises ConfigError that names a file that is none."""
    if not isinstance(image, str | Path):
        return image.convert("RGB")
    try:
        return read_image(Path(image))
    except CalibrationError as error:
        raise ConfigError(str(error)) from None


def revision(folder: Path) -> str:
    """sha256 over the files that decide what a model computes: weights, config, tokenizer and processor."""
    sha = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in DECIDING and path.name not in NOT_DECIDING and path.is_file():
            sha.update(f"{path.name}\0".encode() + sha256_of(path))
    return sha.hexdigest()
