"""Captions of images, and of parts of them, by a model of transformers that writes what it sees."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import ConfigError, in_one_line


class Captioner:
    """A model of images to text from a local folder, such as BLIP or a VisionEncoderDecoder; no code in it is run.

    folder      dense or packed, with its image processor and tokenizer; images are prepared by Pillow
    device      "auto", "cpu", "cuda", "cuda:1", ...
    max_tokens  of a caption; it takes the likeliest token each time
    batch_size  images that are computed at once

    Raises CheckpointError if it does not load, ConfigError if it writes no captions from images alone.
    """

    def __init__(self, folder: str | Path, device: str = "auto", max_tokens: int = 40, batch_size: int = 16) -> None:
        from ...calibration import load_processor, load_tokenizer
        from ...runtime import load

        self.folder, self.max_tokens, self.batch_size = Path(folder), max_tokens, batch_size
        if max_tokens < 1 or batch_size < 1:
            raise ConfigError(f"captioner: expected max_tokens and batch_size >= 1, got {max_tokens}, {batch_size}.")
        if not self.folder.is_dir():
            raise ConfigError(f"{folder}: no such folder. Give the folder of a model that writes captions.")
        self.model: Any = load(self.folder, device=device, dtype="float32")
        writes = hasattr(self.model, "can_generate") and self.model.can_generate()
        if not writes or "pixel_values" not in (self.model.main_input_name, *_taken(self.model)):
            raise ConfigError(f"{folder}: expected a model that writes captions, got {type(self.model).__name__}.")
        self.processor, self.tokenizer = load_processor(self.folder), load_tokenizer(self.folder)

    def captions(self, images: Sequence[Any]) -> list[str]:
        """A caption for each of Pillow's images in RGB, in one line; empty where the model writes nothing.

        Raises ConfigError where the model does not take images alone.
        """
        import torch

        found: list[str] = []
        for begin in range(0, len(images), self.batch_size):
            part = list(images[begin : begin + self.batch_size])
            try:
                pixels = self.processor(images=part, return_tensors="pt")["pixel_values"].to(self.model.device)
                with torch.inference_mode():
                    written = self.model.generate(
                        pixel_values=pixels, max_new_tokens=self.max_tokens, do_sample=False, num_beams=1
                    )
            except Exception as error:
                raise ConfigError(
                    f"{self.folder}: writes no captions from images alone ({in_one_line(error)}). Give BLIP, GIT or a "
                    "VisionEncoderDecoder."
                ) from None
            texts = self.tokenizer.batch_decode(written, skip_special_tokens=True)
            found += [" ".join(text.split()) for text in texts]
        return found


def _taken(model: Any) -> tuple[str, ...]:
    import inspect

    return tuple(inspect.signature(model.forward).parameters)
