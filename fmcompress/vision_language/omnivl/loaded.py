"""An OmniVL checkpoint that is ready to look at images, videos and texts, batch by batch."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...calibration.images import ENDINGS, find_images
from ...clip.vectors import Matrix
from ...devices import pick_device
from ...errors import CalibrationError, ConfigError
from ...media import ANIMATED, CONTAINERS, is_video
from .inputs import OmniVLInputs

Progress = Callable[[int, int], None]  # so many of so many are done


def silent(done: int, total: int) -> None:
    """Progress that nobody watches."""


class Medium(NamedTuple):
    """A file of an image or a video, or a folder of a video's frames."""

    path: Path
    video: bool


def media_of(paths: Sequence[str | Path]) -> list[Medium]:
    """Images and videos, told apart by their files. Raises CalibrationError for one that is not there."""
    return [Medium(_there(Path(path)), is_video(path)) for path in paths]


def find_media(folder: str | Path) -> list[Medium]:
    """The images and videos of a folder, by name; folders in it that hold images are videos.

    Raises CalibrationError if there are none.
    """
    folder = Path(folder)
    found = []
    for path in sorted(folder.iterdir()):
        frames = path.is_dir() and any(one.suffix.lower() in ENDINGS for one in path.iterdir())
        if frames or (path.is_file() and path.suffix.lower() in (*ENDINGS, *ANIMATED, ".npy", *CONTAINERS)):
            found.append(path)
    if not found:
        find_images(folder)  # which says what is missing
    return media_of(found)


def pixel_batches(
    inputs: OmniVLInputs, media: Sequence[Medium], batch_size: int, progress: Progress = silent
) -> Iterator[tuple[list[int], Tensor]]:
    """Numbers of media and their pixels, images and videos apart; see OmniVLInputs.pixels."""
    done, frames = 0, inputs.config.vision_config.num_frames
    for video in (False, True):
        rows = [row for row, medium in enumerate(media) if medium.video == video]
        for begin in range(0, len(rows), batch_size):
            some = rows[begin : begin + batch_size]
            if video:
                yield some, inputs.pixels([media[row].path for row in some], frames)
            else:
                yield some, torch.stack([inputs.image(media[row].path) for row in some])
            done += len(some)
            progress(done, len(media))


class OmniVL:
    """A model with its tokenizer and image processor.

    folder      of a dense, packed or compressed-tensors checkpoint
    device      "auto", "cpu", "cuda", "cuda:1", ...
    dtype       "float32", "bfloat16" or "float16", of the computation
    batch_size  images, videos or texts that are computed at once; decides nothing but rounding

    Raises ConfigError, CheckpointError or PayloadError if it does not load.
    """

    def __init__(
        self, folder: str | Path, *, device: str = "auto", dtype: str = "float32", batch_size: int = 16
    ) -> None:
        from ...clip.batches import checked_dtype
        from ...runtime import load

        if not Path(folder).is_dir():
            raise ConfigError(f"{folder}: no such folder. Give the folder of an OmniVL model.")
        checked_dtype(dtype, batch_size)
        self.folder, self.batch_size, self.device = Path(folder), batch_size, pick_device(device)
        self.inputs = OmniVLInputs(folder)
        self.model: Any = load(folder, device=str(self.device), dtype=dtype)

    @property
    def notes(self) -> list[str]:
        """What a user should know of the texts so far."""
        return self.inputs.notes

    @torch.inference_mode()
    def seen(self, media: Sequence[Medium], progress: Progress = silent) -> Iterator[tuple[list[int], Any]]:
        """Numbers of media and what the visual encoder makes of them, batch by batch, images and videos apart."""
        for rows, pixels in pixel_batches(self.inputs, media, self.batch_size, progress):
            yield rows, self.model.visual_encoder(pixels.to(self.device))

    @torch.inference_mode()
    def embed_media(self, media: Sequence[Medium], progress: Progress = silent) -> Matrix:
        """[media, dim] float32, rows of length 1. Raises CalibrationError for a file that cannot be read."""
        found = np.empty((len(media), self.model.config.projection_dim), np.float32)
        for rows, seen in self.seen(media, progress):
            found[rows] = self._unit(self.model.visual_projection(seen.pooler_output))
        return found

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> Matrix:
        """[texts, dim] float32, rows of length 1."""
        found = [self._unit(self.model.get_text_features(*self.tokens(part))) for part in self.parts(texts)]
        return np.concatenate(found)

    def parts(self, items: Sequence[Any]) -> Iterator[list[Any]]:
        """The items in batches. Raises ConfigError if there are none."""
        if not items:
            raise ConfigError("texts: expected one at least, got none.")
        for begin in range(0, len(items), self.batch_size):
            yield list(items[begin : begin + self.batch_size])

    def tokens(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token ids and mask [texts, tokens] on the model's device."""
        if not all(isinstance(text, str) and text.strip() for text in texts):
            raise ConfigError("texts: expected texts that are not empty.")
        ids, mask = self.inputs.tokens(texts)
        return ids.to(self.device), mask.to(self.device)

    def _unit(self, rows: Tensor) -> Matrix:
        rows = rows.float()
        if not torch.isfinite(rows).all():
            raise ConfigError(f"{self.folder}: embeddings are not finite. Compute in float32.")
        return torch.nn.functional.normalize(rows, dim=-1).cpu().numpy()  # type: ignore[no-any-return]


def _there(path: Path) -> Path:
    if not path.exists():
        raise CalibrationError(f"{path}: no such file. Give an image, a video or a folder of frames.")
    return path
