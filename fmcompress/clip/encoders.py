"""What turns images and texts into embeddings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from ..errors import ConfigError
from .vectors import Matrix


class Encoder(Protocol):
    """A model of two towers. Both give rows of length 1, [items, dim] float32: this is the one place that normalises.

    dim          numbers in an embedding
    identity     all that decides a bit of an embedding: model, revision (a hash of its files), preprocessing, dtype;
                 embeddings mix only where it is equal
    logit_scale  what cosines are multiplied by (already exponentiated), and
    logit_bias   what is added to that (0 but for SigLIP)
    """

    dim: int
    identity: dict[str, Any]
    logit_scale: float
    logit_bias: float

    def encode_text(self, texts: Sequence[str]) -> Matrix:
        """[texts, dim]; the same whatever batch a text is in."""
        ...

    def encode_images(self, images: Sequence[Path | Any]) -> Matrix:
        """[images, dim] of files or of Pillow's images. Raises ConfigError that names a file that is no image."""
        ...


def load_encoder(model: str | Path, *, device: str = "auto", dtype: str = "float32", batch_size: int = 64) -> Encoder:
    """The model of a folder: of transformers, dense or packed, or of open_clip where open_clip_config.json says so.

    device  "auto", "cpu", "cuda", "cuda:1", ...
    dtype   "float32", "bfloat16" or "float16", of the computation

    Raises ConfigError, CheckpointError or PayloadError if it cannot be loaded.
    """
    model = Path(model)
    if not model.is_dir():
        raise ConfigError(f"{model}: no such folder. Give the folder of a model; download models of a hub first.")
    if (model / "open_clip_config.json").exists() and not (model / "config.json").exists():
        from .open_clip_encoder import OpenClipEncoder

        return OpenClipEncoder(model, device=device, dtype=dtype, batch_size=batch_size)
    from .transformers_encoder import TransformersEncoder

    return TransformersEncoder(model, device=device, dtype=dtype, batch_size=batch_size)
