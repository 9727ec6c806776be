"""A handful of pairs to train tiny OmniVL models on, in memory and as a manifest."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omnivl_cases import LAYERS, PAD, pixels, texts, tiny_omnivl
from PIL import Image

from fmcompress.models.omnivl import OmniVLConfig
from fmcompress.training.schedule import Schedule
from fmcompress.vision_language.omnivl.data import CAPTION, QUESTION, Batch, Said, TensorPairs
from fmcompress.vision_language.omnivl.inputs import OmniVLInputs, make_inputs
from fmcompress.vision_language.omnivl.objective import Objective
from fmcompress.vision_language.omnivl.train import Trainer

TEXTS = ["a red seven moves left", "a blue one at the top"]


def made(folder, *, image_size=28, longest=16):
    """Inputs of a model that is not there."""
    tokenizer = make_inputs(folder, TEXTS, image_size=28)
    count = len(tokenizer)
    text = {
        "vocab_size": count,
        "max_position_embeddings": longest,
        "sep_token_id": tokenizer.sep_token_id,
        "bos_token_id": count - 2,
    }
    OmniVLConfig(
        vision_config={**LAYERS, "image_size": image_size, "patch_size": 7, "num_frames": 4},
        text_config={**LAYERS, **text, "pad_token_id": tokenizer.pad_token_id},
        dec_token_id=count - 2,
        enc_token_id=count - 1,
    ).save_pretrained(folder)
    return OmniVLInputs(folder)


def said(items: int, *, kinds: list[int] | None = None, labels: list[int] | None = None, seed: int = 0) -> Said:
    """Random texts; a label of its own for each unless labels are given, random answers where there are questions."""
    ids, mask = texts(items, 10, seed=seed)
    of = torch.tensor(kinds or [CAPTION] * items)
    answers = (ids if QUESTION in of.tolist() else ids[:, :0]).roll(1, 0)
    own = torch.arange(items)
    return Said(ids, mask, of, own if labels is None else torch.tensor(labels), own, answers, (answers != PAD).long())


def images(items: int, **given: Any) -> Batch:
    return Batch(pixels(items), said(items, **given))


def trainer(
    stages: Any, *, items: int = 6, learning_rate: float = 3e-3, batch: int = 6, seed: int = 0, **given: Any
) -> Trainer:
    """Of a tiny model, on so many images and as many videos with captions of their own."""
    memory = TensorPairs(said(2 * items), pixels(items), pixels(items, 4, seed=3))
    objective = Objective(tiny_omnivl(), **{"bank": 8, "momentum": 0.9, **given})
    return Trainer(objective, memory, stages, Schedule(batch, learning_rate, seed=seed))


def write_manifest(folder: Path, *, videos: int = 6) -> Path:
    """Eight images and as many videos as asked: captions, labels and questions."""
    folder.mkdir(exist_ok=True)
    random, lines = np.random.default_rng(0), []
    for row in range(8):
        Image.fromarray(random.integers(0, 256, (36, 34, 3), np.uint8)).save(folder / f"{row}.png")
        said = {"text": f"picture number {row}"} if row < 4 else {"label": ["cat", "dog"][row % 2]}
        lines.append({"image": f"{row}.png", **said})
    for row in range(videos):
        np.save(folder / f"{row}.npy", random.integers(0, 256, (9, 33, 35, 3), np.uint8))
        said = {"text": f"film number {row}"} if row < 4 else {"question": "which film is it?", "answer": f"film {row}"}
        lines.append({"video": f"{row}.npy", **said})
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path
