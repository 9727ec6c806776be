"""Prunes and quantizes the small CLIP of train.py in several ways, and measures what each costs it.

    python examples/clip/train.py clip-digits --data ../shared/data/mnist-test
    python examples/clip/compress.py clip-digits --data ../shared/data/mnist-test

Prints the table of `fmcompress clip compare`: accuracy, worst group and drift, of one cache.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from digits import captions, read, split, write

WAYS = {  # name -> command and options; "data" stands for calibration by captions and images
    "magnitude-50": ["prune", "--sparsity", "0.5", "--method", "magnitude"],
    "sparsegpt-50": ["prune", "--sparsity", "0.5", "data"],
    "magnitude-2of4": ["prune", "--pattern", "2:4", "--method", "magnitude"],
    "sparsegpt-2of4": ["prune", "--pattern", "2:4", "data"],
    "rtn-4bit": ["quantize", "--bits", "4", "--method", "rtn", "--group-size", "64", "--format", "packed"],
    "gptq-4bit": ["quantize", "--bits", "4", "--group-size", "64", "--format", "packed", "data"],
    "rtn-3bit": ["quantize", "--bits", "3", "--method", "rtn", "--group-size", "64", "--format", "packed"],
    "gptq-3bit": ["quantize", "--bits", "3", "--group-size", "64", "--format", "packed", "data"],
    "sparsegpt-50-4bit": [
        "prune", "--sparsity", "0.5", "--bits", "4", "--group-size", "64", "--format", "packed", "data",
    ],
}  # fmt: skip


def run(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "fmcompress", *map(str, words)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, help="folder of MNIST's test files; without it scikit-learn's digits")
    parser.add_argument("--seed", type=int, default=0, help="that the model was trained with")
    given = parser.parse_args()
    splits = split(*read(given.data), given.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(splits, folder / "digits")
        text = folder / "captions.txt"
        text.write_text("\n".join(captions(splits.train, np.random.default_rng(given.seed))))
        images = folder / "calibration"  # none of the images that are measured on
        images.mkdir()
        for path in (folder / "digits" / "images").glob("train*.png"):
            path.rename(images / path.name)
        data = ["--calibration", text, "--images", images, "--sequence-length", 12, "--samples", 512]
        for way, (command, *options) in WAYS.items():
            words = [word for option in options for word in (data if option == "data" else [option])]
            run(command, given.model, folder / way, *words, "--quiet")
        table = (folder / "digits" / "labels.csv").read_text().splitlines()
        (folder / "labels.csv").write_text("\n".join(row for row in table if not row.startswith("train")) + "\n")
        run(
            "clip", "compare", given.model, *(folder / way for way in WAYS), "--images", folder / "digits" / "images",
            "--classes", folder / "digits" / "classes.txt", "--labels", folder / "labels.csv",
            "--cache", folder / "cache", "--quiet",
        )  # fmt: skip


if __name__ == "__main__":
    main()
