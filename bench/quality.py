"""Perplexity of pruned checkpoints against dense, magnitude and the eager loop: the table in the README.

With --methods, such as sparsegpt,wanda+refit,admm+reconstruct,best, those instead: a method or a --quality, and after
each + an option of prune: refit, swap, reconstruct (100 steps) or row (a threshold for each row). --table prints
Markdown with the share of the gap between the first method and the dense model that each of the others closes.
Needs the folder of real checkpoints and texts that FMCOMPRESS_DATA names (see CONTRIBUTING.md).
"""

import argparse
import json
import lzma
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import torch
from eager import eager_sparsegpt
from rich.console import Console
from rich.table import Table

from fmcompress import layer_solver, pipeline
from fmcompress.config import QUALITY, PruneConfig
from fmcompress.errors import ConfigError
from fmcompress.evaluation import evaluate
from fmcompress.pruning import LayerResult
from fmcompress.report import RunProgress

CPU = torch.device("cpu")
LENGTH = 256
TARGETS = [{"sparsity": 0.5}, {"pattern": "2:4"}, {"pattern": "4:8"}, {"sparsity": 0.7}]
MORE = {
    "refit": {"refit": True},
    "swap": {"swap": True},
    "reconstruct": {"reconstruct": 100},
    "row": {"mask_scope": "row"},
}


@dataclass(frozen=True)
class Case:
    """A checkpoint with its calibration and evaluation text files."""

    model: Path
    calibration: Path
    text: Path
    samples: int
    windows: int


def cases(data: Path, scratch: Path) -> list[Case]:
    """The three checkpoints: TinyStories ones on tinystories-sample, the WikiText one on WikiText-2.

    Calibration from the first 60 % of the stories, evaluation on the last 20 %; newlines as spaces for the model
    whose tokenizer has none. WikiText-2: train split against test split.
    """
    story_file = next(
        path for path in sorted((data / "tinystories-sample").iterdir()) if path.suffix in (".xz", ".txt")
    )
    stories = (lzma.open if story_file.suffix == ".xz" else open)(story_file, "rt", encoding="utf-8").read()
    found = []
    for name in ("stories260k", "babyllama105"):
        text = stories.replace("\n", " ") if name == "babyllama105" else stories
        parts = {"calibration": text[: len(text) * 6 // 10], "evaluation": text[len(text) * 8 // 10 :]}
        for part, content in parts.items():
            (scratch / f"{name}-{part}.txt").write_text(content, encoding="utf-8")
        paths = [scratch / f"{name}-{part}.txt" for part in parts]
        found.append(Case(data / "checkpoints" / name, *paths, samples=64, windows=150))
    wiki = data / "wikitext-2"
    model = data / "checkpoints" / "wikitext-llama"
    return [*found, Case(model, wiki / "train.txt.xz", wiki / "test.txt.xz", samples=64, windows=300)]


def eager(weight, hessian, pattern, grid, *, damping=0.01, output_energy=None, **_) -> LayerResult:
    """The plain algorithm behind the solver's signature."""
    solved, loss = eager_sparsegpt(weight.float(), hessian, pattern, damping)
    result = solved.to(weight.dtype)
    return LayerResult(result, loss, loss / (output_energy or 1), int((result == 0).sum()), damping)


def options_of(method: str) -> dict:
    """ "admm+reconstruct" -> options of PruneConfig."""
    name, *more = method.split("+")
    options = {key: value for each in more for key, value in MORE[each].items()}
    if name in QUALITY:
        return {"quality": name, **options}
    if name in ("eager", "true-sequential"):
        return {"true_sequential": name == "true-sequential", **options}
    return {"method": name, **options}


def prune_and_score(case: Case, method: str, target: dict, scratch: Path) -> dict:
    out = Path(tempfile.mkdtemp(dir=scratch)) / "out"
    options = {"samples": case.samples, "sequence_length": LENGTH, **target}
    config = PruneConfig(**options, **options_of(method))
    begin = time.perf_counter()
    job = pipeline.prepare(case.model, config, case.calibration if config.needs_data else None, CPU)
    solver = eager if method == "eager" else layer_solver.solve
    with mock.patch.object(layer_solver, "solve", solver), RunProgress(job.plan.layers, quiet=True) as progress:
        facts = pipeline.compress_checkpoint(job, out, progress)
    seconds = time.perf_counter() - begin
    score = evaluate(out, case.text, LENGTH, CPU, max_windows=case.windows)
    return {"perplexity": score.perplexity, "zeros": facts["sparsity"], "seconds": seconds}


def as_markdown(checkpoint: str, pattern: str, dense: float, scores: dict[str, dict]) -> str:
    """A row: perplexity, share of the gap that is closed, seconds."""
    first = next(iter(scores.values()))["perplexity"]
    cells = [f"{first:.3f}, {next(iter(scores.values()))['seconds']:.1f} s"]
    for score in [*scores.values()][1:]:
        closed = (first - score["perplexity"]) / (first - dense)
        cells.append(f"{score['perplexity']:.3f} ({100 * closed:.0f} %), {score['seconds']:.1f} s")
    return f"| {checkpoint} | {pattern} | {dense:.3f} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    parser.add_argument("--methods", default="magnitude,eager,sparsegpt,true-sequential")
    parser.add_argument("--checkpoints", default="stories260k,babyllama105,wikitext-llama")
    parser.add_argument("--patterns", default="50 %,2:4,4:8,70 %")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    methods = options.methods.split(",")
    data = Path(os.environ.get("FMCOMPRESS_DATA", Path(__file__).parents[2] / "shared" / "data"))
    table = Table("checkpoint", "pattern", "dense", *methods, "s of the last")
    found = []
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        for case in (case for case in cases(data, scratch) if case.model.name in options.checkpoints.split(",")):
            dense = evaluate(case.model, case.text, LENGTH, CPU, max_windows=case.windows).perplexity
            for target in TARGETS:
                label = str(PruneConfig(**target).target())
                if label not in options.patterns.split(","):
                    continue
                try:
                    scores = {method: prune_and_score(case, method, target, scratch) for method in methods}
                except ConfigError as error:
                    print(f"{case.model.name} {label}: {error}")
                    continue
                found.append({"checkpoint": case.model.name, "pattern": label, "dense": dense, **scores})
                if options.table:
                    print(as_markdown(case.model.name, label, dense, scores), flush=True)
                figures = [f"{scores[method]['perplexity']:.3f}" for method in methods]
                seconds = f"{scores[methods[-1]]['seconds']:.1f}"
                table.add_row(case.model.name, label, f"{dense:.3f}", *figures, seconds)
    Console(width=120).print(table)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
