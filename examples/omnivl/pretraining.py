"""OmniVL on digits that lie and move: what videos, their order, and labels are worth, in a table of seeds.

    python examples/omnivl/pretraining.py --data ../shared/data/mnist-test --seeds 0 1 2 3 4 --out results.json

A seed trains a model for each line of the table, from nothing, with the same digits and the same draws. With --out the
seeds that are there already are kept. Options were chosen on seed 10, on the digits of "val".
"""

import argparse
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from moving_digits import COLOURS, DIGITS, DIRECTIONS, FRAMES, SIZE, Scenes, said_of_images, said_of_videos, scenes
from torch import Tensor

from fmcompress.models.omnivl import OmniVLConfig, OmniVLModel
from fmcompress.training.schedule import Schedule
from fmcompress.vision_language.omnivl.data import TensorPairs, said_of
from fmcompress.vision_language.omnivl.inputs import OmniVLInputs, make_inputs
from fmcompress.vision_language.omnivl.objective import Objective
from fmcompress.vision_language.omnivl.stages import Stage
from fmcompress.vision_language.omnivl.train import Trainer

WIDTH, GALLERY = 64, 300
SHARES = (42, 58, 83)  # percent of the training digits: captioned, labelled images, captioned videos; the rest labelled
OF_IMAGES = ("a photo of a {}", "the digit {}", "somebody wrote a {}", "this is a {}")
OF_VIDEOS = ("a video of something moving {}", "it goes {}", "the way is {}", "something runs {}")


@dataclass(frozen=True)
class Arm:
    """A line of the table.

    order     "image": images alone; "decoupled": images, then both; "together": both from the beginning; "video"
    labels    whether labelled images and videos are there
    batch     items of a batch
    """

    order: Literal["image", "decoupled", "together", "video"] = "decoupled"
    labels: bool = True
    contrast: Literal["univlc", "plain"] = "univlc"
    reduction: Literal["mean_pos", "sum_pos"] = "mean_pos"
    batch: int = 128

    def stages(self, image_steps: int, video_steps: int) -> list[Stage]:
        """Every order that has images has as many batches of them, and the same of videos."""
        both = 2 * video_steps
        if self.order == "image":
            return [Stage("image", image_steps), Stage("image", video_steps)]
        if self.order == "decoupled":
            return [Stage("image", image_steps), Stage("joint", both)]
        if self.order == "together":
            return [Stage("joint", image_steps + both, video_steps / (image_steps + both))]
        return [Stage("joint", video_steps, 1.0)]


ARMS = {
    "images alone": Arm("image"),
    "images, then both": Arm(),
    "both from the beginning": Arm("together"),
    "videos alone": Arm("video"),
    "… captions alone, no labels": Arm(labels=False),
    "… labels as captions (plain)": Arm(contrast="plain"),
    "… UniVLC, summed": Arm(reduction="sum_pos"),
    "… labels beside as many captions": Arm(batch=192),  # of which two thirds are captioned, as of 128 all are
}
MEASURES = {
    "image_recall": "image R@1", "video_recall": "video R@1", "digit": "digit", "direction": "direction",
    "written": "words of captions",
}  # fmt: skip


def labelled(texts: tuple[str, ...], names: list[str], generator: np.random.Generator) -> list[str]:
    """A prompt each, of several: equal classes are not told by equal texts."""
    return [texts[generator.integers(len(texts))].format(name) for name in names]


def learned_from(train: Scenes, arm: Arm, inputs: OmniVLInputs, seed: int) -> TensorPairs:
    """Captioned and labelled images, then captioned and labelled videos, of other digits each."""
    generator, ways = np.random.default_rng(seed), list(DIRECTIONS)
    borders = [len(train) * share // 100 for share in SHARES]
    said_images, named, said_videos, moved = (train.take(part) for part in np.split(np.arange(len(train)), borders))
    prompts = labelled(OF_IMAGES, [DIGITS[digit] for digit in named.digits], generator)
    video_prompts = labelled(OF_VIDEOS, [ways[way] for way in moved.directions], generator)
    pixels = [part.images(generator) for part in (said_images, named)]
    frames = [part.videos(generator) for part in (said_videos, moved)]
    texts = [said_of_images(said_images), prompts, said_of_videos(said_videos), video_prompts]
    labels: list[list[int | None]] = [
        [None] * len(said_images), named.digits.tolist(), [None] * len(said_videos),
        (len(DIGITS) + moved.directions).tolist(),
    ]  # fmt: skip
    kept = (0, 1, 2, 3) if arm.labels else (0, 2)
    said = said_of(inputs, [t for part in kept for t in texts[part]], labels=[y for part in kept for y in labels[part]])
    images, videos = (one if arm.labels else one[:1] for one in (pixels, frames))
    return TensorPairs(said, _tensor(np.concatenate(images)), _tensor(np.concatenate(videos)))


def _tensor(pixels: Any) -> Tensor:
    return torch.from_numpy(pixels).movedim(-1, -3).contiguous()


def new_inputs(folder: str) -> OmniVLInputs:
    """Of a model whose tokenizer knows the words of all captions and prompts."""
    rows = np.arange(max(len(DIGITS), len(COLOURS), 9))
    every = Scenes(
        rows, rows % len(DIGITS), rows % len(COLOURS), rows % len(DIRECTIONS), np.stack([rows % 3, rows // 3 % 3], 1)
    )  # its ink is never drawn
    prompts = [text.format(name) for text in (*OF_IMAGES, *OF_VIDEOS) for name in (*DIGITS, *DIRECTIONS)]
    tokenizer = make_inputs(folder, 20 * [*said_of_images(every), *said_of_videos(every), *prompts], image_size=SIZE)
    # random weights of 1 / sqrt(width): with transformers' 0.02 a model this narrow learns several times more slowly
    layers = {
        "hidden_size": WIDTH, "num_attention_heads": 4, "intermediate_size": 2 * WIDTH,
        "initializer_range": WIDTH**-0.5,
    }  # fmt: skip
    OmniVLConfig(
        vision_config={
            **layers, "num_hidden_layers": 3, "image_size": SIZE, "patch_size": 8, "num_frames": FRAMES,
            "tubelet_size": 2,
        },
        text_config={
            **layers, "num_hidden_layers": 2, "vocab_size": len(tokenizer), "max_position_embeddings": 24,
            "sep_token_id": tokenizer.sep_token_id, "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": len(tokenizer) - 2,
        },
        projection_dim=WIDTH, initializer_range=WIDTH**-0.5,
        dec_token_id=len(tokenizer) - 2, enc_token_id=len(tokenizer) - 1,
    ).save_pretrained(folder)  # fmt: skip
    return OmniVLInputs(folder)


@torch.no_grad()
def measured(model: OmniVLModel, inputs: OmniVLInputs, test: Scenes, seed: int) -> dict[str, float]:
    """Percent, on digits that were not learned from.

    image_recall, video_recall  the mean of finding the one of 300 by its text, and the text by it; no two texts equal
    digit, direction            zero-shot classes of images and of videos, by the mean of the prompts
    written                     words of captions of 100 videos that stand where they should
    """
    model.eval()
    generator, found = np.random.default_rng(seed), {}
    for kind, said in (("image", said_of_images), ("video", said_of_videos)):
        captions = said(test)
        alone = test.take(np.array(sorted(captions.index(one) for one in set(captions)))[:GALLERY])
        pixels = _tensor(alone.images(generator) if kind == "image" else alone.videos(generator))
        seen, told = embedded(model, pixels), model.get_text_features(*inputs.tokens(said(alone)))
        likeness, own = seen @ told.T, torch.arange(len(alone))
        hits = [(likeness.argmax(axis) == own).float().mean().item() for axis in (0, 1)]
        found[f"{kind}_recall"] = 50 * sum(hits)
        if kind == "video":
            found["written"] = 100 * _words_right(model, inputs, pixels[:100], said(alone)[:100])
    for name, pixels, prompts, classes, truth in (
        ("digit", test.images(generator), OF_IMAGES, DIGITS, test.digits),
        ("direction", test.videos(generator), OF_VIDEOS, tuple(DIRECTIONS), test.directions),
    ):
        of = [
            model.get_text_features(*inputs.tokens([text.format(one) for text in prompts])).mean(0) for one in classes
        ]
        said_to_be = (embedded(model, _tensor(pixels)) @ torch.stack(of).T).argmax(dim=1).numpy()
        found[name] = 100 * float((said_to_be == truth).mean())
    return found


def embedded(model: OmniVLModel, pixels: Tensor) -> Tensor:
    """[items, dim] of uint8 images or videos."""
    return torch.cat([model.get_image_features(part.float() / 127.5 - 1) for part in pixels.split(250)])


def _words_right(model: OmniVLModel, inputs: OmniVLInputs, pixels: Tensor, captions: list[str]) -> float:
    ids = model.generate(pixels.float() / 127.5 - 1, max_new_tokens=16, do_sample=False)
    right = words = 0
    for text, caption in zip(inputs.decode(ids), captions, strict=True):
        wanted = caption.split()
        words += len(wanted)
        right += sum(a == b for a, b in zip(text.split(), wanted, strict=False))
    return right / words


def run(parts: dict[str, Scenes], arm: Arm, seed: int, part: str, image_steps: int, video_steps: int) -> dict[str, Any]:
    """Train and measure one line of the table."""
    with tempfile.TemporaryDirectory() as folder:
        inputs = new_inputs(folder)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = OmniVLModel(inputs.config)
    begin = time.process_time()
    objective = Objective(
        model, contrast=arm.contrast, reduction=arm.reduction, momentum=0.5, bank=0, decoder_rows=32
    )  # a slow model and a bank of what it said need more than some hundred steps
    data = learned_from(parts["train"], arm, inputs, seed)
    Trainer(objective, data, arm.stages(image_steps, video_steps), Schedule(batch_size=arm.batch, seed=seed)).run()
    spent = time.process_time() - begin
    return {**measured(model, inputs, parts[part], seed), "training_cpu_s": spent}


def table(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """Mean and standard deviation over the seeds, as Markdown."""
    lines = ["| training | " + " | ".join(MEASURES.values()) + " |", "|---|" + "---|" * len(MEASURES)]
    for name in ARMS:
        rows = [one[name] for one in results.values() if name in one]
        if rows:
            cells = []
            for measure in MEASURES:
                values = np.array([row[measure] for row in rows])
                spread = f" ± {values.std(ddof=1):.1f}" if len(values) > 1 else ""
                cells.append(f"{values.mean():.1f}{spread}")
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of MNIST's test files; without it scikit-learn's digits")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--part", choices=("val", "test"), default="test", help="digits to measure on")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS), metavar="LINE")
    parser.add_argument("--image-steps", type=int, default=400)
    parser.add_argument("--video-steps", type=int, default=150)
    parser.add_argument("--out", type=Path, help="JSON of every seed")
    given = parser.parse_args()
    results = json.loads(given.out.read_text()) if given.out and given.out.exists() else {}
    for seed in given.seeds:
        parts = scenes(given.data, seed)
        for name in given.arms:
            if name in results.setdefault(str(seed), {}):
                continue
            found = run(parts, ARMS[name], seed, given.part, given.image_steps, given.video_steps)
            results[str(seed)][name] = {key: round(value, 3) for key, value in found.items()}
            print(f"seed {seed}, {name}: {json.dumps(results[str(seed)][name])}", flush=True)
            if given.out:
                given.out.write_text(json.dumps(results, indent=1) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()
