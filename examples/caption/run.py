"""BEST on twelve photographs with models that were trained here: what selection and the filter are worth, in a table.

python examples/caption/run.py --data ../shared/data/images-skimage --out examples/caption/results.json
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import encoder as small_encoder
import numpy as np
import torch
import writer
from judge import Judge, Remembering, Scores
from PIL import Image
from scenes import Scene, clues_of, read_scenes, vocabulary

from fmcompress.clip.encoders import load_encoder
from fmcompress.vision_language.visual_clues import VisualClues
from fmcompress.vision_language.visual_clues.prompt import to_prompt

TABLE_SEEDS, OTHER_SEED = (1, 2, 3), 100  # the threshold is chosen on the other
THRESHOLDS = (-0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
CANDIDATES, MAX_TOKENS, TEMPERATURE, TAGS = 12, 90, 0.8, 6


def tags_of(vector: Any, encoder: Any, names: Sequence[str]) -> list[str]:
    """Stage 1: the names that the encoder finds nearest to the picture, as it was taught to read them."""
    texts = encoder.encode_text([f"There {'are' if name.endswith('s') else 'is'} {name}." for name in names])
    return [names[at] for at in np.argsort(-(texts @ vector), kind="stable")[:TAGS]]


def all_clues(scenes: dict[str, Scene], vectors: Any, encoder: Any) -> dict[str, Any]:
    """The clues of each picture: tags by retrieval; captions, objects, attributes and boxes as somebody typed them."""
    names = vocabulary(scenes)[0]
    return {
        name: clues_of(scene.things, [scene.caption], tags_of(vector, encoder, names))
        for (name, scene), vector in zip(scenes.items(), vectors, strict=True)
    }


def row_of(judge: Judge, looked: Sequence[dict[str, Any]], threshold: float) -> dict[str, Scores]:
    """A picture's line: the ways to end up with one paragraph of the candidates, each with its figures."""
    chosen = max(looked, key=lambda one: one["own"])  # the first among equals, as select has it
    by_f1 = sorted(looked, key=lambda one: one["f1"])
    middle = by_f1[(len(by_f1) - 1) // 2]
    fields = ("own", "other", "f1", "precision", "recall")
    mean = {field: float(np.mean([one[field] for one in looked])) for field in fields}
    median = {field: float(np.median([one[field] for one in looked])) for field in ("own", "other")}
    every = [judge.filtered(one, threshold) for one in looked]
    return {
        "median candidate": {**{field: middle[field] for field in fields}, **median},
        "random candidate": mean,
        "random candidate, filtered": {f: float(np.mean([one[f] for one in every])) for f in every[0]},
        "chosen": {field: chosen[field] for field in fields},
        "chosen, filtered": judge.filtered(chosen, threshold),
        "chosen, filtered by describe": judge.described([one["text"] for one in looked]),
        "oracle": {field: by_f1[-1][field] for field in fields},
    }


def candidates_of(model: Any, prompts: dict[str, str], seed: int, count: int, **more: Any) -> dict[str, list[str]]:
    """Each picture's candidates; an empty one, which no encoder can read, becomes a full stop that tells nothing."""
    settings = {"max_tokens": MAX_TOKENS, "temperature": TEMPERATURE, "samples": count, "seed": seed, **more}
    texts = model.generate(list(prompts.values()), **settings)
    return {name: [one.strip() or "." for one in some] for name, some in zip(prompts, texts, strict=True)}


def best_threshold(judges: dict[str, Judge], looked: dict[str, list[dict[str, Any]]]) -> tuple[float, dict[str, float]]:
    """The threshold of the best mean F1 of chosen and filtered, the lowest among equals, and the F1 of each."""
    found = {}
    for threshold in THRESHOLDS:
        rows = [row_of(judges[name], some, threshold)["chosen, filtered"]["f1"] for name, some in looked.items()]
        found[f"{threshold:g}"] = float(np.mean(rows))
    return float(max(found, key=lambda name: found[name])), found


def mean_rows(rows: Sequence[dict[str, Scores]]) -> dict[str, Scores]:
    """The mean of several lines, way by way."""
    return {way: {f: float(np.mean([row[way][f] for row in rows])) for f in rows[0][way]} for way in rows[0]}


def measure(
    judges: dict[str, Judge], generate: Callable[[int], dict[str, list[str]]], seeds: Sequence[int], threshold: float
) -> dict[str, Any]:
    """The table of one kind of prompt: by picture and over all, means over seeds, and how seeds differ."""
    by_seed = []
    for seed in seeds:
        candidates = generate(seed)
        by_seed.append({name: row_of(j, j.look(candidates[name]), threshold) for name, j in judges.items()})
    means = [mean_rows(list(rows.values())) for rows in by_seed]
    return {
        "mean": mean_rows(means),
        "f1 by seed": {way: [mean[way]["f1"] for mean in means] for way in means[0]},
        "own score by seed": {way: [mean[way]["own"] for mean in means] for way in means[0] if "own" in means[0][way]},
        "pictures": {name: mean_rows([rows[name] for rows in by_seed]) for name in judges},
    }


def run(
    data: Path, work: Path, *, encoder_steps: int, writer_steps: int, count: int, seeds: Sequence[int] = TABLE_SEEDS,
    layers: int = 4, pretrained: Path | None = None, only: Sequence[str] | None = None,
    max_tokens: int = MAX_TOKENS, save: Callable[[dict[str, Any]], None] = lambda found: None,
) -> dict[str, Any]:  # fmt: skip
    """Train, sample and measure. only  so many pictures, by name"""
    from fmcompress.language_model import language_model

    scenes = read_scenes()
    pictures = {name: Image.open(data / name).convert("RGB") for name in scenes}
    for picture in pictures.values():
        picture.thumbnail((300, 300))
    encoders, begin = [], time.perf_counter()
    for seed in (0, 1):
        if not (work / f"encoder{seed}").exists():
            small_encoder.train(pictures, scenes, work / f"encoder{seed}", seed=seed, steps=encoder_steps)
        encoders.append(Remembering(load_encoder(work / f"encoder{seed}", device="cpu")))
    knows = [small_encoder.measure(each, pictures, scenes, 9) for each in encoders]
    if not (work / "writer").exists():
        writer.train(scenes, work / "writer", seed=0, steps=writer_steps, layers=layers)
    scenes = {name: scene for name, scene in scenes.items() if only is None or name in only}
    judges = {name: Judge(encoders, pictures[name], scene.graph) for name, scene in scenes.items()}
    clues = all_clues(scenes, [judge.vectors[0] for judge in judges.values()], encoders[0])
    models = {"writer": (language_model(str(work / "writer"), device="cpu"), count, seeds, writer.KINDS)}
    if pretrained:
        models["pretrained"] = (
            language_model(str(pretrained), device="cpu", dtype="float32"),
            count // 3,
            seeds[:1],
            ["story"],
        )
    found: dict[str, Any] = {"encoders on mirrored crops": knows, "tags": _told(clues)}
    for model, (asked, samples, own_seeds, kinds) in models.items():
        for kind in kinds:
            some = {name: _prompt(one, kind) for name, one in clues.items()}

            def generate(seed: int, asked: Any = asked, some: Any = some, samples: int = samples) -> Any:
                return candidates_of(asked, some, seed, samples, max_tokens=max_tokens)

            first = generate(OTHER_SEED)
            threshold, tried = best_threshold(judges, {n: j.look(first[n]) for n, j in judges.items()})
            found[f"{model}, {kind}"] = {
                "threshold": threshold, "tried": tried, "candidates": samples, "seeds": list(own_seeds),
                **measure(judges, generate, own_seeds, threshold), "example": {n: t[0] for n, t in first.items()},
            }  # fmt: skip
            print(f"{model}, {kind}: {time.perf_counter() - begin:.0f} s", flush=True)
            show(found[f"{model}, {kind}"])
            found["cpu_s of this process"] = round(time.process_time())
            save(found)
    return found


def _prompt(clues: VisualClues, kind: str) -> str:
    """A prompt of the writer's kinds, or a story of few clues: a model of stories takes 256 tokens."""
    if kind != "story":
        return writer.prompt_of(clues, kind)
    return to_prompt(VisualClues(clues.tags[:3], clues.objects[:4], clues.captions), "story", locate=False)


def _told(clues: dict[str, Any]) -> dict[str, list[str]]:
    return {name: [tag.text for tag in one.tags] for name, one in clues.items()}


def show(part: dict[str, Any]) -> None:
    """A kind's table."""
    fields = ("own", "other", "f1", "precision", "recall", "kept")
    print(f"  threshold {part['threshold']:g}{'':15}" + "".join(f"{field:>11}" for field in fields))
    for way, row in part["mean"].items():
        print(f"  {way:27}" + "".join(f"{row[f]:11.3f}" if f in row else " " * 11 for f in fields))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of scikit-image's photographs")
    parser.add_argument("--out", type=Path, required=True, help="JSON to write")
    parser.add_argument("--work", type=Path, help="folder to keep the models in, and to take them from")
    parser.add_argument("--pretrained", type=Path, help="folder of a causal language model to ask, too")
    given = parser.parse_args()

    def save(found: dict[str, Any]) -> None:
        given.out.write_text(json.dumps(_rounded(found), indent=1) + "\n", encoding="utf-8")

    with tempfile.TemporaryDirectory() as folder:
        run(
            given.data, given.work or Path(folder), encoder_steps=small_encoder.STEPS, writer_steps=writer.STEPS,
            count=CANDIDATES, pretrained=given.pretrained, save=save,
        )  # fmt: skip


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return round(value, 4) if isinstance(value, float) else value


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
