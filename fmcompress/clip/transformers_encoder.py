"""CLIP and its kin through transformers: from a local folder, dense or packed, to rows of length 1."""

import inspect
import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from ..calibration import load_processor
from ..calibration.architecture import longest_sequence
from ..calibration.text import load_tokenizer
from ..devices import pick_device
from ..errors import CheckpointError, ConfigError, in_one_line
from ..formats import open_checkpoint
from .batches import CutTexts, as_image, checked_dtype, in_batches, revision
from .siglip_text import SIGLIP, SIGLIP_TOKENS, canonicalised
from .vectors import Matrix

VERSION = 1  # of what this file makes of a model: goes up when an embedding changes
FAMILIES = ("clip", *SIGLIP, "align", "altclip", "omnivl")


class TransformersEncoder:
    """A model of two towers: CLIP, SigLIP, SigLIP 2, ALIGN, AltCLIP or OmniVL. See Encoder for what it promises.

    folder      of a dense or packed checkpoint with its tokenizer and image processor; no code in it is run
    device      "auto", "cpu", "cuda", "cuda:1", ...
    dtype       "float32", "bfloat16" or "float16": of the computation; embeddings are float32
    batch_size  texts or images that are computed at once; nothing else depends on it

    Raises CheckpointError or PayloadError if the model does not load, ConfigError if it is of another family.
    """

    def __init__(
        self, folder: str | Path, *, device: str = "auto", dtype: str = "float32", batch_size: int = 64
    ) -> None:
        from ..runtime import load

        self.folder, self.batch_size = Path(folder), batch_size
        self._cut = CutTexts()
        self.dtype = checked_dtype(dtype, batch_size)
        self.family = _family(self.folder)
        self.device = pick_device(device)
        self.model: Any = load(self.folder, device=str(self.device), dtype=dtype)
        if not hasattr(self.model, "get_text_features") or not hasattr(self.model, "get_image_features"):
            raise ConfigError(f"{self.folder}: expected a model of two towers, got {type(self.model).__name__}.")
        self.logit_scale, self.logit_bias = _scale_and_bias(self.folder)
        longest = longest_sequence(self.model) or 77
        self.max_tokens = min(SIGLIP_TOKENS, longest) if self.family in SIGLIP else longest
        self.dim = _width(self.model)
        self.identity = {
            "model": self.family,
            "revision": revision(self.folder),
            "dtype": dtype,
            "text": f"canonical, padded to {self.max_tokens}" if self.family in SIGLIP else f"cut at {self.max_tokens}",
            "pooling": "projected features",
            "preprocessing": "the folder's own processor, over Pillow",
            "normalised": True,
            "version": VERSION,
        }

    @cached_property
    def tokenizer(self) -> Any:
        """Of the folder; images need none."""
        return load_tokenizer(self.folder)

    @cached_property
    def processor(self) -> Any:
        """Of the folder; texts need none."""
        return load_processor(self.folder)

    @property
    def notes(self) -> list[str]:
        """What a user should know of the texts so far."""
        return self._cut.notes(f"'s {self.max_tokens} tokens")

    def look_at(self, texts: Sequence[str]) -> None:
        """Note which texts are cut, whether they are embedded now or were before.

        Raises ConfigError for a text that is none, or of which the model reads nothing.
        """
        wrong = next((text for text in texts if not isinstance(text, str) or not self._as_read(text)), None)
        if wrong is not None:
            raise ConfigError(f"texts: expected texts that are not empty, as the model reads them, got {wrong!r}.")

        def is_cut(new: list[str]) -> list[bool]:
            found = self.tokenizer([self._as_read(text) for text in new], verbose=False)["input_ids"]
            return [len(tokens) > self.max_tokens for tokens in found]

        self._cut.look_at(texts, is_cut)

    def encode_text(self, texts: Sequence[str]) -> Matrix:
        """[texts, dim]; the same, to rounding, whatever batch a text is in. Notes how many texts were cut.

        Raises ConfigError for a text that is none or empty, or of which nothing finite comes.
        """
        self.look_at(texts)
        read = [self._as_read(text) for text in texts]
        return self._encode(read, self._tokens, self.model.get_text_features, "texts")

    def encode_images(self, images: Sequence[Path | Any]) -> Matrix:
        """[images, dim] of files or of Pillow's images.

        Raises ConfigError that names a file that is no image, or of which nothing finite comes.
        """
        return self._encode(list(images), self._pixels, self.model.get_image_features, "images")

    def _encode(self, items: list[Any], prepare: Any, features: Any, what: str) -> Matrix:
        def compute(part: list[Any]) -> Tensor:
            return features_of(features(**prepare(part)))

        return in_batches(items, compute, self.batch_size, self.dim, f"{self.folder}: {what}")

    def _as_read(self, text: str) -> str:
        """What of a text the model is given; "" if that is nothing."""
        if self.family in SIGLIP:
            return canonicalised(text)
        return text if text.strip() else ""

    def _tokens(self, texts: list[str]) -> dict[str, Tensor]:
        siglip = self.family in SIGLIP
        padding: Any = "max_length" if siglip else True
        try:
            given = self.tokenizer(
                texts, padding=padding, max_length=self.max_tokens, truncation=True, return_tensors="pt"
            )
        except ValueError as error:  # such as one without a token to pad with
            raise CheckpointError(f"{self.folder}: its tokenizer takes no batch ({in_one_line(error)}).") from None
        # SigLIP was trained without a mask, its padding is part of the text
        taken = ("input_ids",) if siglip else tuple(inspect.signature(self.model.get_text_features).parameters)
        return {key: value.to(self.device) for key, value in given.items() if key in taken}

    def _pixels(self, images: list[Any]) -> dict[str, Tensor]:
        given = self.processor(images=[as_image(image) for image in images], return_tensors="pt")
        moved = {key: value.to(self.device) for key, value in given.items() if isinstance(value, Tensor)}
        return {key: value.to(self.dtype) if value.is_floating_point() else value for key, value in moved.items()}


def features_of(output: Any) -> Tensor:
    """The embeddings [items, dim] in what get_text_features or get_image_features returns, which differs by version."""
    if isinstance(output, Tensor):
        return output
    for name in ("text_embeds", "image_embeds", "pooler_output"):
        found = getattr(output, name, None)
        if isinstance(found, Tensor):
            return found
    raise ConfigError(f"expected embeddings from the model, got {type(output).__name__}.")


def _family(folder: Path) -> str:
    family = open_checkpoint(folder).config.get("model_type")
    if family not in FAMILIES:
        raise ConfigError(f"{folder}: expected a model of {', '.join(FAMILIES)}, got {in_one_line(family)}.")
    return str(family)


def _scale_and_bias(folder: Path) -> tuple[float, float]:
    """As they are stored: in the dtype of the computation they would be rounded."""
    checkpoint = open_checkpoint(folder)

    def stored(name: str) -> float | None:
        return float(checkpoint.read(name)) if name in checkpoint.tensors else None

    temperature, scale = stored("temperature"), stored("logit_scale")  # the former is ALIGN's
    if temperature is None and scale is None:
        raise ConfigError(f"{folder}: expected a tensor logit_scale or temperature, as models of two towers have.")
    return 1 / temperature if temperature else math.exp(scale or 0.0), stored("logit_bias") or 0.0


def _width(model: Any) -> int:
    """Numbers in an embedding."""
    config = model.config
    if config.model_type in SIGLIP:
        return int(config.vision_config.hidden_size)
    return int(config.projection_dim)
