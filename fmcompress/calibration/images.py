"""Images from a folder, as the model's own processor prepares them."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import CalibrationError, CheckpointError, in_one_line

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")


def find_images(folder: Path) -> list[Path]:
    """The image files of a folder, sorted by name. Raises CalibrationError if there are none."""
    if not folder.is_dir():
        raise CalibrationError(f"{folder}: no such folder. Give a folder of images ({', '.join(ENDINGS)}).")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS)
    if not found:
        raise CalibrationError(f"{folder}: holds no images ({', '.join(ENDINGS)}).")
    return found


def sample_images(model: Path, folder: Path, count: int, seed: int) -> Tensor:
    """Pixels [images, channels, height, width] float32 of at most `count` images of a folder, in the order drawn.

    model  the checkpoint's folder, whose preprocessor_config.json says how images are prepared

    Raises CheckpointError if its processor does not load, CalibrationError if an image does not or has another size.
    """
    paths, processor = find_images(folder), load_processor(model)
    order = torch.randperm(len(paths), generator=torch.Generator().manual_seed(seed))
    drawn = [paths[number] for number in order[:count].tolist()]
    pixels = [_read(processor, path) for path in drawn]
    for path, one in zip(drawn, pixels, strict=True):
        if one.shape != pixels[0].shape:
            raise CalibrationError(
                f"{path}: expected {list(pixels[0].shape[1:])} pixels as of {drawn[0].name}, got "
                f"{list(one.shape[1:])}. Give images of one size."
            )
    return torch.cat(pixels).float()


def load_processor(model: Path) -> Any:
    """The checkpoint's own image processor, over Pillow. Raises CheckpointError if there is none that loads offline."""
    try:
        from transformers import AutoImageProcessor

        return AutoImageProcessor.from_pretrained(model, local_files_only=True, trust_remote_code=False, backend="pil")
    except Exception as error:
        raise CheckpointError(
            f"{model}: its image processor does not load ({in_one_line(error)}). Copy preprocessor_config.json from "
            "the original model into the folder, and install Pillow."
        ) from None


def read_image(path: Path) -> Any:
    """An image file as Pillow's image in RGB. Raises CalibrationError if it is none."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except Exception as error:
        raise CalibrationError(f"{path}: cannot be read as an image ({in_one_line(error)}).") from None


def _read(processor: Any, path: Path) -> Tensor:
    image = read_image(path)
    try:
        pixels = processor(images=image, return_tensors="pt")["pixel_values"]
    except Exception as error:
        raise CalibrationError(f"{path}: the model's processor does not take it ({in_one_line(error)}).") from None
    if not isinstance(pixels, Tensor) or pixels.dim() != 4:
        raise CalibrationError(f"{path}: expected pixels [1, channels, height, width] from the model's processor.")
    return pixels
