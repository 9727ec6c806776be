"""open_clip's models, from files alone: a folder with open_clip_config.json and weights beside it."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..devices import pick_device
from ..errors import CheckpointError, ConfigError, in_one_line
from .batches import CutTexts, as_image, checked_dtype, in_batches, revision
from .vectors import Matrix

CONFIG = "open_clip_config.json"
VERSION = 1  # of what this file makes of a model: goes up when an embedding changes


class OpenClipEncoder:
    """A model of open_clip. See Encoder for what it promises.

    folder      holds open_clip_config.json and weights as safetensors, as open_clip's push_to_hf_hub writes them; its
                tokenizer must be open_clip's own, or lie in the folder. Nothing is read from elsewhere
    device, dtype, batch_size  as for TransformersEncoder

    Raises ConfigError without open_clip, or if a tower is a model of a hub; CheckpointError if the folder does not
    load.
    """

    def __init__(
        self, folder: str | Path, *, device: str = "auto", dtype: str = "float32", batch_size: int = 64
    ) -> None:
        try:
            import open_clip
        except ImportError:
            raise ConfigError("models of open_clip need it: pip install 'fmcompress[open-clip]'.") from None
        self.folder, self.batch_size = Path(folder), batch_size
        self._cut = CutTexts()
        self.device, self.dtype = pick_device(device), checked_dtype(dtype, batch_size)
        self.dim = _checked_config(self.folder)
        name = f"local-dir:{self.folder}"
        try:
            self.model, _, self.transform = open_clip.create_model_and_transforms(name)
            self.tokenizer: Any = open_clip.get_tokenizer(name)
        except Exception as error:
            raise CheckpointError(f"{folder}: open_clip does not load it ({in_one_line(error)}).") from None
        bias = getattr(self.model, "logit_bias", None)
        self.logit_scale = math.exp(float(self.model.logit_scale.detach()))
        self.logit_bias = 0.0 if bias is None else float(bias.detach())
        self.model = self.model.to(self.device, self.dtype).eval()
        self.identity = {
            "model": "open_clip",
            "revision": revision(self.folder),
            "dtype": dtype,
            "pooling": "projected features",
            "preprocessing": "open_clip's for evaluation",
            "normalised": True,
            "version": VERSION,
        }

    @property
    def notes(self) -> list[str]:
        """What a user should know of the texts so far."""
        return self._cut.notes(" takes")

    def look_at(self, texts: Sequence[str]) -> None:
        """Note which texts are cut, whether they are embedded now or were before."""
        encode = getattr(self.tokenizer, "encode", None)  # of open_clip's own; with a token before and one behind
        if encode is not None:
            longest = self.tokenizer.context_length
            self._cut.look_at(texts, lambda new: [len(encode(text)) + 2 > longest for text in new])

    def encode_text(self, texts: Sequence[str]) -> Matrix:
        """[texts, dim]; the same, to rounding, whatever batch a text is in. Raises ConfigError as in_batches."""
        self.look_at(texts)

        def compute(part: list[str]) -> Tensor:
            return self.model.encode_text(self.tokenizer(part).to(self.device))

        return in_batches(texts, compute, self.batch_size, self.dim, f"{self.folder}: texts")

    def encode_images(self, images: Sequence[Path | Any]) -> Matrix:
        """[images, dim] of files or of Pillow's images. Raises ConfigError for a file that is none."""

        def compute(part: list[Any]) -> Tensor:
            pixels = torch.stack([self.transform(as_image(image)) for image in part])
            return self.model.encode_image(pixels.to(self.device, self.dtype))

        return in_batches(images, compute, self.batch_size, self.dim, f"{self.folder}: images")


def _checked_config(folder: Path) -> int:
    """Numbers in an embedding, from a config that names nothing outside of the folder."""
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))["model_cfg"]
        dim, text = int(config["embed_dim"]), dict(config["text_cfg"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path}: no config of open_clip ({in_one_line(error)}).") from None
    if not list(folder.glob("*.safetensors")):
        raise CheckpointError(f"{folder}: holds no .safetensors. Only safetensors checkpoints are read.")
    if text.get("hf_model_name"):
        raise ConfigError(f"{path}: its text tower is {text['hf_model_name']} of a hub, and only files here are read.")
    return dim
