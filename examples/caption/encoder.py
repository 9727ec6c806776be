"""A small CLIP from nothing that knows twelve photographs and nothing else, and how well it knows them mirrored."""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scenes import Scene, Thing, related, sentence, vocabulary
from torch import Tensor

from fmcompress.vision_language.visual_clues.words import lemma_of_object

sys.path.append(str(Path(__file__).resolve().parents[1] / "clip"))
from train import make_tokenizer

SIZE, TOKENS, STEPS, BATCH = 48, 96, 500, 48
VOCABULARY = 2000  # tokens, also of the writer
NEGATIVES = 2  # false texts beside every true one (Yuksekgonul et al. 2023 take hard negatives of words, too)


def crops(picture: Image.Image, count: int, generator: np.random.Generator, *, mirrored: bool) -> list[tuple[Any, Any]]:
    """(crop of SIZE x SIZE, its box as shares); a mirrored one shows what training never showed that way round."""
    found = []
    for _ in range(count):
        side = generator.uniform(0.6, 1)
        left, top = generator.uniform(0, 1 - side, 2)
        box = (left, top, left + side, top + side)
        width, height = picture.size
        crop = picture.crop((int(left * width), int(top * height), int(box[2] * width), int(box[3] * height)))
        crop = crop.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        found.append((crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else crop, box))
    return found


def pixels(crop: Image.Image) -> Tensor:
    """[3, SIZE, SIZE] float32, as the saved image processor prepares it."""
    return torch.from_numpy(np.array(crop)).permute(2, 0, 1).float() / 127.5 - 1


def seen(thing: Thing, box: Any) -> bool:
    """Whether most of a thing lies in a crop; what has no box is taken to be everywhere."""
    if thing.box is None:
        return True
    width, height = (min(thing.box[i + 2], box[i + 2]) - max(thing.box[i], box[i]) for i in (0, 1))
    area = (thing.box[2] - thing.box[0]) * (thing.box[3] - thing.box[1])
    return width > 0 and height > 0 and width * height > 0.5 * area


def texts_of(scene: Scene, box: Any, words: Any, generator: np.random.Generator) -> list[str]:
    """A true text of one to five sentences about a crop, and false ones: each with one fact that is not so."""
    names, attributes, _ = words
    things = [thing for thing in scene.things if seen(thing, box)] or list(scene.things)
    count = int(generator.integers(1, 6))
    told = [things[at] for at in generator.permutation(len(things))[:count]]
    some = {thing.name: _some(thing.attributes, generator) for thing in told}
    known = [r for r in scene.relations if {r[0], r[2]} <= {thing.name for thing in things}]
    joined = [related(*known[at]) for at in generator.permutation(len(known))[: int(generator.integers(0, 3))]]
    true = [sentence(name, attrs, None, generator) for name, attrs in some.items()]
    found = [" ".join([*true, *joined])]
    for number in range(NEGATIVES):
        at = int(generator.integers(len(true)))
        thing, false = told[at], list(true)
        own = {lemma_of_object(each.name) for each in scene.things}
        if number % 2:  # a wrong attribute
            wrong = [w for w in attributes if w not in thing.attributes]
            false[at] = sentence(thing.name, [wrong[generator.integers(len(wrong))]], None, generator)
        else:  # something that is not there, in another's place or beside it
            wrong = [name for name in names if lemma_of_object(name) not in own]
            more = sentence(wrong[generator.integers(len(wrong))], _some(attributes, generator, 2), None, generator)
            false[at] = f"{false[at]} {more}" if generator.random() < 0.5 else more
        found.append(" ".join([*false, *joined]))
    return found


def _some(words: Any, generator: np.random.Generator, most: int = 3) -> list[str]:
    count = int(generator.integers(0, min(most, len(words)) + 1))
    return [words[at] for at in generator.permutation(len(words))[:count]]


def make_model(tokenizer: Any, seed: int) -> Any:
    """A random CLIPModel: towers 96 wide, of two and three blocks."""
    from transformers import CLIPConfig, CLIPModel

    shared = {"hidden_size": 96, "intermediate_size": 256, "num_attention_heads": 4}
    config = CLIPConfig(
        text_config={
            **shared, "num_hidden_layers": 2, "vocab_size": len(tokenizer), "max_position_embeddings": TOKENS,
            "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={**shared, "num_hidden_layers": 3, "image_size": SIZE, "patch_size": 8},
        projection_dim=64,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return CLIPModel(config)


def train(
    pictures: dict[str, Image.Image], scenes: dict[str, Scene], folder: Path, *, seed: int, steps: int = STEPS
) -> None:
    """Train and save an encoder of pictures and what was typed about them."""
    from transformers import CLIPImageProcessorPil

    generator, names, words = np.random.default_rng(seed), list(scenes), vocabulary(scenes)
    pool = [t for name in names for _ in range(60) for t in texts_of(scenes[name], (0, 0, 1, 1), words, generator)]
    tokenizer = make_tokenizer(pool, TOKENS, VOCABULARY, space=False)
    model = make_model(tokenizer, seed).train()
    optimizer = torch.optim.AdamW(model.parameters(), 1.5e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.5e-3, total_steps=steps, pct_start=0.1)
    begin = time.perf_counter()
    for step in range(1, steps + 1):
        which = generator.integers(0, len(names), BATCH)
        shown = [crops(pictures[names[at]], 1, generator, mirrored=False)[0] for at in which]
        told = [texts_of(scenes[names[at]], box, words, generator) for at, (_, box) in zip(which, shown, strict=True)]
        texts = [group[number] for number in range(1 + NEGATIVES) for group in told]
        tokens = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        out = model(**tokens, pixel_values=torch.stack([pixels(crop) for crop, _ in shown]))
        loss = _loss(out.logits_per_image, torch.from_numpy(which))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(
                f"encoder {seed}, step {step}: loss {loss.item():.3f}, {time.perf_counter() - begin:.0f} s", flush=True
            )
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessorPil(
        do_resize=True, size={"height": SIZE, "width": SIZE}, do_center_crop=False, do_rescale=True, do_normalize=True,
        image_mean=[0.5] * 3, image_std=[0.5] * 3, resample=2,
    ).save_pretrained(folder)  # fmt: skip


def _loss(logits: Tensor, which: Tensor) -> Tensor:
    """CLIP's loss; texts of another crop of the same picture are neither right nor wrong, all false ones are wrong.

    logits  [images, (1 + NEGATIVES) * images], the true texts first
    """
    images = len(which)
    twin = (which[:, None] == which[None]) & ~torch.eye(images, dtype=torch.bool)
    hidden = torch.cat([twin, torch.zeros(images, logits.shape[1] - images, dtype=torch.bool)], 1)
    right = torch.arange(images)
    of_images = torch.nn.functional.cross_entropy(logits.masked_fill(hidden, -torch.inf), right)
    of_texts = torch.nn.functional.cross_entropy(logits[:, :images].masked_fill(twin, -torch.inf).T, right)
    return (of_images + of_texts) / 2


def measure(encoder: Any, pictures: dict[str, Image.Image], scenes: dict[str, Scene], seed: int) -> dict[str, float]:
    """Shares of mirrored crops: the nearest true text is of the picture; a true text is nearer than a false one."""
    generator, words, count = np.random.default_rng(seed), vocabulary(scenes), 8
    shown, texts, which = [], [], []
    for number, (name, scene) in enumerate(scenes.items()):
        for crop, box in crops(pictures[name], count, generator, mirrored=True):
            shown.append(crop)
            texts += texts_of(scene, box, words, generator)[: 1 + NEGATIVES]
            which.append(number)
    scores = encoder.encode_images(shown) @ encoder.encode_text(texts).T
    every, group = scores[:, :: 1 + NEGATIVES], np.array(which)
    own = np.stack([row[at * (1 + NEGATIVES) : (at + 1) * (1 + NEGATIVES)] for at, row in enumerate(scores)])
    return {
        "picture of the nearest text is right": float((group[every.argmax(1)] == group).mean()),
        "true text above a false one": float((own[:, :1] > own[:, 1:]).mean()),
    }
