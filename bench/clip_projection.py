"""RoboShot on a million embeddings beside a copy of them, and its peak memory: python bench/clip_projection.py.

All times are of one run, in turns; medians. Both a copy and RoboShot read each byte once and write each once: `share
of a copy` is the copy's seconds (torch's copy_, on all threads) over ours. Peak memory is the most that was held
meanwhile, over the bytes of the matrices, in and out.
"""

import argparse
import json
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch
from clip_zero_shot import embeddings, peak_bytes, reset_peak, seconds

import fmcompress
from fmcompress.clip.roboshot import RoboShot


def direct(shot: RoboShot, images: Any, out: Any) -> None:
    """The same in NumPy, chunk by chunk."""
    read, write = (some.astype(images.dtype) for some in shot.factors)
    for begin in range(0, len(images), 1024):
        part = slice(begin, begin + 1024)
        out[part] = images[part] + (images[part] @ read.T) @ write
        out[part] /= np.linalg.norm(out[part], axis=1, keepdims=True)


def timed(shot: RoboShot, images: Any, repeats: int) -> list[dict[str, Any]]:
    """A row for each way, in turns."""
    out = torch.zeros(images.shape).numpy()
    source, target = torch.from_numpy(images), torch.from_numpy(out)
    works: dict[str, Callable[[], Any]] = {
        "copy": lambda: target.copy_(source),
        "RoboShot": lambda: shot.transform(images, out=out),
        "RoboShot in place": lambda: shot.transform(out, out=out),
        "NumPy, 1024 rows at a time": lambda: direct(shot, images, out),
    }
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            times[name].append(seconds(work))
    found = {name: median(some) for name, some in times.items()}
    return [{"what": name, "seconds": s, "share of a copy": found["copy"] / s} for name, s in found.items()]


def peak(shot: RoboShot, images: Any) -> float:
    """Most memory held while new embeddings are made, over the bytes of both matrices."""
    reset_peak()
    before = peak_bytes() - images.nbytes
    held = shot.transform(images)
    return float((peak_bytes() - before) / (images.nbytes + held.nbytes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--reject", type=int, default=10)
    parser.add_argument("--accept", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    images = embeddings(options.rows, options.dim, 0)
    shot = RoboShot.fit(*(embeddings(n, options.dim, 1 + s) for s, n in enumerate((options.reject, options.accept))))
    rows, share = timed(shot, images, options.repeats), peak(shot, images)
    native, threads = fmcompress.explain()["native"], torch.get_num_threads()
    if options.json:
        print(json.dumps({"rows": rows, "peak": share, "native": native, "threads": threads}, indent=1))
        return
    print(f"{options.rows} x {options.dim} float32, {options.reject} rejected, {options.accept} accepted; "
          f"{threads} threads, native {native}")  # fmt: skip
    for row in rows:
        print(f"{row['what']:28} {row['seconds']:8.3f} s   {row['share of a copy']:.2f} of a copy")
    print(f"peak memory: {share:.3f} of the bytes of both matrices")


if __name__ == "__main__":
    main()
