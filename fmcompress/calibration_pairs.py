"""Pairs of a manifest as a model of images and texts is given them, through its own processor and tokenizer."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .calibration import Pairs, load_processor, load_tokenizer, longest_sequence
from .errors import CalibrationError, CheckpointError, in_one_line
from .media import read_media
from .pairs import Pair, read_pairs, require_media

PAIRS = 128  # by default, where the manifest holds as many


def is_manifest(path: Path) -> bool:
    """Whether the first line of a .jsonl file names an image or a video; a text's lines have a "text" alone."""
    if path.suffix != ".jsonl" or not path.is_file():
        return False
    try:
        with path.open(encoding="utf-8") as file:
            line = json.loads(next((line for line in file if line.strip()), "null"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(line, dict) and any(line.get(key) is not None for key in ("image", "video"))


def sample_pairs(
    model: Path, definition: nn.Module, manifest: Path, count: int | None, seed: int, notes: list[str]
) -> Pairs:
    """At most `count` pairs of a manifest, PAIRS by default, in the order drawn: of split "train" where there are
    splits, videos where there are some, else images. What a person should know is added to the notes.

    model, definition  the checkpoint's folder, and the model that its config.json tells of

    Raises CheckpointError if its processor or tokenizer does not load, CalibrationError for a file that cannot be read.
    """
    every = read_pairs(manifest, note=notes.append)
    found = [pair for pair in every if pair.split in (None, "train")]
    if not found:
        raise CalibrationError(f'{manifest}: expected pairs of split "train", or of none, got others alone.')
    if len(found) < len(every):
        notes.append(f"{manifest}: {len(every) - len(found)} pairs of other splits than train are left out")
    videos = [pair for pair in found if pair.video]
    frames = _frames(definition)
    if videos and frames is None:
        raise CalibrationError(f"{videos[0].path}: the model takes no videos. Give a manifest of images.")
    kept = videos or found
    if frames is not None and not videos:
        notes.append(
            f"{manifest} has no videos: what attends over time sees nothing. Leave it out (--exclude), or say what to "
            "do there (--few-tokens)"
        )
    if len(kept) < len(found):
        notes.append(
            f"{manifest}: {len(found) - len(kept)} images are left out, so that what attends over time sees "
            f"{len(kept)} videos only"
        )
    order = torch.randperm(len(kept), generator=torch.Generator().manual_seed(seed))
    drawn = [kept[number] for number in order[: count or PAIRS].tolist()]
    if len(drawn) < (count or 0):
        notes.append(f"{manifest} holds {len(drawn)} pairs to calibrate with, fewer than the {count} asked for")
    require_media(drawn)
    tokens, lengths = _tokens(load_tokenizer(model), [text_of(pair) for pair in drawn], longest_sequence(definition))
    return Pairs(_pixels(load_processor(model), drawn, frames if videos else None), tokens, lengths)


def text_of(pair: Pair) -> str:
    """What is said of an image or video: its caption, the name of its class, or a question with its answer."""
    return pair.text or pair.label or f"{pair.question} {pair.answer}"


def _frames(definition: nn.Module) -> int | None:
    """How many frames of a video a model takes; None if it takes none."""
    config: Any = definition.config
    return getattr(getattr(config, "vision_config", config), "num_frames", None)


def _tokens(tokenizer: Any, texts: Sequence[str], longest: int | None) -> tuple[Tensor, Tensor]:
    """Token ids [texts, tokens], with zeros behind them, and their lengths [texts]."""
    rows = tokenizer(list(texts), truncation=longest is not None, max_length=longest, verbose=False)["input_ids"]
    lengths = torch.tensor([len(row) for row in rows])
    padded = [[*row, *[0] * (int(lengths.max()) - len(row))] for row in rows]
    return torch.tensor(padded, dtype=torch.int64), lengths


def _pixels(processor: Any, pairs: Sequence[Pair], frames: int | None) -> Tensor:
    """[pairs, channels, height, width], or [pairs, frames, channels, height, width]; float32."""
    from PIL import Image

    pixels: list[Tensor] = []
    for pair in pairs:
        pictures = [Image.fromarray(one) for one in read_media(pair.path, frames or 1)]
        try:
            one = processor(images=pictures, return_tensors="pt")["pixel_values"].float()
        except Exception as error:
            raise CalibrationError(
                f"{pair.path}: the model's processor does not take it ({in_one_line(error)})."
            ) from None
        if one.dim() != 4 or (pixels and one.shape[1:] != pixels[0].shape[-3:]):
            raise CheckpointError(f"{pair.path}: expected pixels of one size from the model's processor.")
        pixels.append(one if frames else one[0])
    return torch.stack(pixels)
