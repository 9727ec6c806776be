"""What turns images and texts into embeddings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from .vectors import Matrix


class Encoder(Protocol):
    """A model of two towers. Both give rows of length 1, [items, dim] float32: this is the one place that normalises.

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
