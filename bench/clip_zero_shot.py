"""Zero-shot classes of a million embeddings beside a copy of them, and its peak memory: python bench/clip_zero_shot.py.

All times are of one run, in turns; medians. The copy is torch's, on all threads; it reads and writes each byte, so
that its bandwidth is twice the matrix over its seconds. Classifying reads each byte once: `of bandwidth` is what it
reads a second over that.
"""

import argparse
import json
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch

from fmcompress.clip import class_embeddings, predict, top_k

CHUNK_ROWS = 65536


def embeddings(rows: int, dim: int, seed: int) -> Any:
    """Random rows of length 1, made in place: no second matrix raises the peak."""
    generator, made = np.random.default_rng(seed), np.empty((rows, dim), np.float32)
    for begin in range(0, rows, CHUNK_ROWS):
        part = made[begin : begin + CHUNK_ROWS]
        generator.standard_normal(out=part, dtype=np.float32)
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return made


def peak_bytes() -> int:
    """The most that this process has held in memory since reset_peak()."""
    with open("/proc/self/status") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def reset_peak() -> None:
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def seconds(work: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def direct(images: Any, text: Any) -> Any:
    """The same in NumPy, a thousand rows at a time, without a look at the rows' lengths."""
    parts = range(0, len(images), 1024)
    return np.concatenate([np.argmax(images[begin : begin + 1024] @ text.T, axis=1) for begin in parts])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    images = embeddings(options.rows, options.dim, 0)
    names = [str(number) for number in range(options.classes)]
    text = class_embeddings(names, ["{}"], lambda prompts: embeddings(len(prompts), options.dim, 1))
    works: dict[str, Callable[[], Any]] = {
        "predict": lambda: predict(images, text),
        "top 5": lambda: top_k(images, text, min(5, options.classes)),
    }
    peaks = {}
    for name, work in works.items():
        reset_peak()
        work()
        peaks[name] = peak_bytes() / images.nbytes
    copy = np.empty_like(images)
    source, target = torch.from_numpy(images), torch.from_numpy(copy)
    works = {"copy": lambda: target.copy_(source), **works, "NumPy": lambda: direct(images, text)}
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(options.repeats):
        for name, work in works.items():
            times[name].append(seconds(work))
    middle = {name: median(found) for name, found in times.items()}
    rows = [
        {
            "what": name,
            "s": middle[name],
            "gb_per_s": images.nbytes / middle[name] / 1e9,
            "of_bandwidth": middle["copy"] / middle[name] / (1 if name == "copy" else 2),
            "peak_over_matrix": peaks.get(name),
        }
        for name in works
    ]
    if options.json:
        print(json.dumps({**vars(options), "rows_measured": rows}, indent=1))
        return
    print(f"{options.rows:,} x {options.dim} float32, {options.classes} classes, median of {options.repeats}")
    for row in rows:
        peak = "" if row["peak_over_matrix"] is None else f" · peak {row['peak_over_matrix']:.3f} of the matrix"
        print(
            f"{row['what']:8} {row['s']:.3f} s · {row['gb_per_s']:5.1f} GB/s of the matrix · "
            f"{row['of_bandwidth']:.2f} of bandwidth{peak}"
        )


if __name__ == "__main__":
    main()
