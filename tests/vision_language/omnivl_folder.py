"""A folder with a tiny OmniVL model as a checkpoint, and manifests of images and videos."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omnivl_cases import tiny_config, tiny_omnivl

from fmcompress.models.omnivl import OmniVLConfig, OmniVLModel
from fmcompress.vision_language.omnivl.inputs import make_inputs

CAPTIONS = [f"a {colour} square {way}" for colour in ("red", "green", "blue") for way in ("up", "down", "to the left")]
COLOURS = {"red": (220, 30, 30), "green": (30, 220, 30), "blue": (30, 30, 220)}
MOVES = {"up": (-2, 0), "down": (2, 0), "left": (0, -2)}


def save_model(folder: Path, *, dtype: torch.dtype = torch.float32, seed: int = 0, **vision: Any) -> OmniVLModel:
    """A random model as after training, with tokenizer and image processor."""
    folder.mkdir(parents=True)
    tokenizer = make_inputs(folder, CAPTIONS, image_size=28, vocabulary=300)
    words = {"sep_token_id": tokenizer.sep_token_id, "pad_token_id": tokenizer.pad_token_id}
    given = tiny_config(len(tokenizer), **vision).to_dict()
    config = OmniVLConfig(
        **{
            **given,
            "text_config": {**given["text_config"], **words},
            "dec_token_id": len(tokenizer) - 2,
            "enc_token_id": len(tokenizer) - 1,
        }
    )
    model = tiny_omnivl(seed, config=config, trained=True).to(dtype)
    model.save_pretrained(folder)
    return model


def make_media(folder: Path, copies: int = 2) -> dict[str, Path]:
    """Squares of three colours that stand in images and move in videos; manifests "images", "videos", "both"."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    chance, lines = np.random.default_rng(0), dict[str, list[dict[str, str]]](images=[], videos=[])
    for copy in range(copies):
        for number, caption in enumerate(CAPTIONS):
            name, frames = f"{copy}-{number}", _frames(caption, chance)
            Image.fromarray(frames[0]).save(folder / f"{name}.png")
            np.save(folder / f"{name}.npy", frames)
            lines["images"].append({"image": f"{name}.png", "text": caption})
            lines["videos"].append({"video": f"{name}.npy", "text": caption})
    lines["both"] = [line for pair in zip(lines["images"], lines["videos"], strict=True) for line in pair]
    return {kind: write_manifest(folder / f"{kind}.jsonl", some) for kind, some in lines.items()}


def write_manifest(path: Path, lines: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def _frames(caption: str, chance: np.random.Generator) -> Any:
    """[8, 32, 32, 3] uint8 of noise, with a square of 10 pixels."""
    words = caption.split()
    frames = chance.integers(0, 60, (8, 32, 32, 3), dtype=np.uint8)
    row, col = chance.integers(11, 18, 2)
    step = MOVES[words[-1]]
    for time, frame in enumerate(frames):
        top, left = np.clip([row + (time - 4) * step[0], col + (time - 4) * step[1]], 0, 22)
        frame[top : top + 10, left : left + 10] = COLOURS[words[1]]
    return frames
