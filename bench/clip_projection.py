"""RoboShot on a million embeddings beside a copy of them, and its peak memory: python bench/clip_projection.py.

All times are of one run, in turns; medians. Both a copy and RoboShot read each byte once and write each once: `share
of a copy` is the copy's seconds (torch's copy_, on all threads) over ours. Peak memory is the most that was held meanwhile, over
the bytes of the matrices, in and out.
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
    out = torch.zeros(images.shape).numpy()
    source, target = torch.from_numpy(images), torch.from_numpy(out)
    works: dict[str, Callable[[], Any]] = {
        "copy": lambda: target.copy_(source),
        "RoboShot": lambda: shot.transform(images, out=out),
        "RoboShot in place": lambda: shot.transform(out, out=out),
        "NumPy, 1024 rows at a time": lambda: direct(shot, images, out),
    }
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(options.repeats):
        for name, work in works.items():
            times[name].append(seconds(work))
    copy = median(times["copy"])
    rows = [
        {"what": name, "seconds": median(some), "share of a copy": copy / median(some)} for name, some in times.items()
    ]
    works.clear()
    del out, target
    reset_peak()
    before = peak_bytes() - images.nbytes
    held = shot.transform(images)
    peak = (peak_bytes() - before) / (images.nbytes + held.nbytes)
    found = {"rows": rows, "peak": peak, "native": fmcompress.explain()["native"], "threads": torch.get_num_threads()}
    if options.json:
        print(json.dumps(found, indent=1))
        return
    print(f"{options.rows} x {options.dim} float32, {options.reject} rejected, {options.accept} accepted; "
          f"{found['threads']} threads, native {found['native']}")  # fmt: skip
    for row in rows:
        print(f"{row['what']:28} {row['seconds']:8.3f} s   {row['share of a copy']:.2f} of a copy")
    print(f"peak memory: {peak:.3f} of the bytes of both matrices")


if __name__ == "__main__":
    main()
