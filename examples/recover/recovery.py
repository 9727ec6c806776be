"""How much of the perplexity that pruning costs a recovery regains: `fmcompress prune`, then `fmcompress recover`.

Each text is cut in four parts that share nothing: calibration (prune sees it), training and validation (recover sees
them; the step to keep is chosen on validation) and test, which nobody saw and on which everything here is measured.
Beside the teacher's logits, plain training on the same text for as many steps (--teacher-weight 0). Every recovery
runs in a process of its own, whose CPU time, user and system, start-up included, is what is told.

    python examples/recover/recovery.py --data FOLDER [--cases babyllama105:2:4] [--seeds 3] [--steps 500]

needs the folder of small trained checkpoints and texts that CONTRIBUTING.md describes.
"""

import argparse
import itertools
import json
import lzma
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from fmcompress.checkpoint import obeys
from fmcompress.evaluation import evaluate
from fmcompress.formats import open_checkpoint

CPU = torch.device("cpu")
LENGTH = 256
TEST_WINDOWS = 100
CASES = "babyllama105:2:4,babyllama105:packed:0.5,stories260k:2:4,wikitext-llama:2:4"
WEIGHTS = {"teacher's logits": 1.0, "text alone": 0.0}  # --teacher-weight


def stories(data: Path, name: str) -> dict[str, str]:
    """TinyStories: 10 % calibration, 70 % training, 10 % validation, 10 % test, cut between paragraphs."""
    with lzma.open(data / "tinystories-sample" / "tiny_stories.txt.xz", "rt", encoding="utf-8") as file:
        text = file.read()
    cuts = [0, *(text.index("\n\n", len(text) * tenth // 10) + 2 for tenth in (1, 8, 9)), len(text)]
    parts = dict(zip(("calibration", "train", "valid", "test"), itertools.pairwise(cuts), strict=True))
    found = {part: text[begin:end] for part, (begin, end) in parts.items()}
    if name == "babyllama105":  # its tokenizer has no line ends
        found = {part: content.replace("\n", " ") for part, content in found.items()}
    return found


def wikitext(data: Path) -> dict[str, str]:
    """WikiText-2: calibration is the first tenth of the training split, training its rest; the others as named."""
    texts = {}
    for split in ("train", "valid", "test"):
        with lzma.open(data / "wikitext-2" / f"{split}.txt.xz", "rt", encoding="utf-8") as file:
            texts[split] = file.read()
    cut = texts["train"].index("\n", len(texts["train"]) // 10) + 1
    return {**texts, "calibration": texts["train"][:cut], "train": texts["train"][cut:]}


def command(*arguments: object) -> tuple[dict[str, Any], float]:
    """Run fmcompress in a process of its own: what it tells as JSON, and its CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    line = [sys.executable, "-m", "fmcompress", *map(str, arguments), "--json", "--quiet"]
    told = subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return json.loads(told), after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def mask_is_intact(pruned: Path, recovered: Path, pattern: str | None) -> bool:
    """Whether every weight that was pruned is 0 still, and each group of a pattern obeys it."""
    before, after = open_checkpoint(pruned), open_checkpoint(recovered)
    for name in before.tensors:
        old, new = before.read(name), after.read(name)
        if old.dim() < 2 or "embed" in name or not bool((old == 0).any()):
            continue
        if bool(new[old == 0].any()) or (pattern and not obeys(new, *map(int, pattern.split(":")))):
            return False
    return True


def one_case(case: str, data: Path, scratch: Path, seeds: int, steps: int) -> dict[str, Any]:
    """Prune a checkpoint, and recover it with each teacher weight and seed."""
    name, _, target = case.partition(":")
    packed, target = target.startswith("packed:"), target.removeprefix("packed:")
    model, pruned = data / "checkpoints" / name, scratch / f"pruned-{case.replace(':', '-')}"
    paths = {}
    for part, content in (wikitext(data) if name.startswith("wikitext") else stories(data, name)).items():
        paths[part] = scratch / f"{name}-{part}.txt"
        paths[part].write_text(content, encoding="utf-8")
    pattern = target if ":" in target else None
    command(
        "prune", model, pruned, "--pattern" if pattern else "--sparsity", target, "--calibration",
        paths["calibration"], "--sequence-length", LENGTH, "--format", "packed" if packed else "dense",
    )  # fmt: skip

    def score(folder: Path) -> float:
        return evaluate(folder, paths["test"], LENGTH, CPU, max_windows=TEST_WINDOWS).perplexity

    dense, lost = score(model), score(pruned)
    found: dict[str, Any] = {"dense": dense, "pruned": lost, "packed": packed, "steps": steps, "runs": {}}
    for way, weight in WEIGHTS.items():
        runs = []
        for seed in range(seeds):
            out = scratch / f"out-{case.replace(':', '-')}-{weight}-{seed}"
            facts, cpu_s = command(
                "recover", pruned, out, "--teacher", model, "--text", paths["train"], "--valid", paths["valid"],
                "--sequence-length", LENGTH, "--steps", steps, "--seed", seed, "--teacher-weight", weight,
            )  # fmt: skip
            perplexity = score(out)
            runs.append({
                "seed": seed, "perplexity": perplexity, "regained": (lost - perplexity) / (lost - dense),
                "cpu_s": cpu_s, "best_step": facts["best_step"], "regained_on_valid": facts["regained"],
                "mask_intact": mask_is_intact(pruned, out, pattern),
            })  # fmt: skip
            print(case, way, json.dumps(runs[-1]), flush=True)
        shares = [run["regained"] for run in runs]
        found["runs"][way] = {
            "mean": mean(shares), "sd": stdev(shares) if seeds > 1 else None, "each": runs,
        }  # fmt: skip
    return found


def main() -> None:
    """Run the cases and write what was found, after each of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("FMCOMPRESS_DATA", Path(__file__).parents[3] / "shared" / "data")
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--cases", default=CASES)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results.json")
    options = parser.parse_args()
    found = json.loads(options.out.read_text()) if options.out.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        for case in options.cases.split(","):
            found[case] = one_case(case, options.data, Path(folder), options.seeds, options.steps)
            found[case]["threads"] = torch.get_num_threads()
            options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
