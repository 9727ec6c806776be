"""CocktailSGD's ops against the copy rate and against a composition of PyTorch ops, in turn in one process.

python bench/cocktail.py [--numel 25000000] [--threads 2] [--runs 15] [--json FILE]

float32 with a float32 residual, whole blocks, 4 bits in groups of 128. Bytes that have to move, each counted once:

- copy: 8 for an element, read and written
- compress_gradient_: 12 for an element: gradient read, residual read and written. The pass before it that looks for
  infinities reads 4 more; they are not counted
- compress_delta_: 12 for a sampled element: two read, one written; what is read twice counts once
- compress_mean_: the payloads and 8 for a sampled element, its residual
- add_payload_: the payload, and 8 for each of the 16 elements of a cache line of the output that has a kept one

A clone of an array takes fresh pages; the copy here goes into one that is there, as the ops do.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from eager_cocktail import EagerCocktail
from torch import Tensor

from fmcompress import ops
from fmcompress._backends import explain
from fmcompress._ops import HEADER_BYTES, Layout
from fmcompress.reference.cocktail import sampled_blocks

WORKERS = 4


def touched_elements(payload: Tensor, layout: Layout) -> int:
    """Of the cache lines of float32 that have a kept element."""
    bodies = payload[HEADER_BYTES:].view(layout.sampled, layout.block_bytes)
    lines = bodies[:, : layout.mask_bytes].contiguous().view(torch.int16)
    return 16 * int((lines != 0).sum()) if layout.mask_bytes else layout.sampled * layout.block


def in_turn(runs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds of each, every round running all of them; the first round does not count."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            begin = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - begin)
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def check(payload: Tensor, body: Tensor, layout: Layout) -> None:
    """Both do the same work: masks are equal, and codes but for ties of rounding."""
    ours = payload[HEADER_BYTES:].view(layout.sampled, layout.block_bytes)[:, : body.shape[1]]
    if not torch.equal(ours[:, : layout.mask_bytes], body[:, : layout.mask_bytes]):
        raise RuntimeError("the composition keeps other elements")
    codes = slice(layout.mask_bytes, layout.mask_bytes + layout.code_bytes)
    if (ours[:, codes] != body[:, codes]).float().mean() > 0.3:  # its scales are rounded to nearest
        raise RuntimeError("the composition has other codes")


def measure(args: argparse.Namespace) -> dict[str, dict[str, float]]:
    blocks = -(-args.numel // args.block)
    numel, sampled = blocks * args.block, max(1, round(blocks * args.sampled))
    kept = max(128, round(args.block * args.kept) // 128 * 128)
    layout = Layout(1, 0, 0, args.block, sampled, kept, 4, 128, True)
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(numel, generator=generator) for _ in range(4)]
    gradient, residual, local, shared = tensors
    eager = EagerCocktail(layout, sampled_blocks(numel, layout))
    payload = ops.compress_gradient_(gradient, residual.clone(), layout)
    body = eager.compress_gradient_(gradient, residual.clone(), 1.0)
    check(payload, body, layout)
    payloads, out = payload.repeat(WORKERS, 1), torch.zeros(numel)
    times = in_turn(
        {
            "copy": lambda: out.copy_(gradient),
            "compress_gradient_": lambda: ops.compress_gradient_(gradient, residual, layout, scale=0.5),
            "eager compress_gradient_": lambda: eager.compress_gradient_(gradient, residual, 0.5),
            "compress_delta_": lambda: ops.compress_delta_(local, shared, layout),
            "eager compress_delta_": lambda: eager.compress_delta_(local, shared),
            "compress_mean_": lambda: ops.compress_mean_(payloads, residual, numel, layout),
            "eager compress_mean_": lambda: eager.compress_mean_([body] * WORKERS, residual),
            "add_payload_": lambda: ops.add_payload_(payload, out, layout, scale=0.5),
            "eager add_payload_": lambda: eager.add_payload_(body, out, 0.5),
        },
        args.runs,
    )
    elements, size = sampled * args.block, layout.payload_bytes
    moved = {
        "copy": 8 * numel,
        "compress_gradient_": 12 * numel,
        "compress_delta_": 12 * elements,
        "compress_mean_": WORKERS * size + 8 * elements,
        "add_payload_": size + 8 * touched_elements(payload, layout),
    }
    copy_rate = moved["copy"] / times["copy"]
    return {
        name: {
            "ms": 1e3 * times[name],
            "GB/s": count / times[name] / 1e9,
            "share of copy": count / times[name] / copy_rate,
            "eager ms": 1e3 * times.get(f"eager {name}", float("nan")),
        }
        for name, count in moved.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--numel", type=int, default=25_000_000, help="rounded up to whole blocks")
    parser.add_argument("--block", type=int, default=4096)
    parser.add_argument("--sampled", type=float, default=0.1, help="share of the blocks")
    parser.add_argument("--kept", type=float, default=0.2, help="share of a block, rounded down to whole groups")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--json", help="write the figures to this file as well")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    figures = measure(args)
    print(f"{args.numel} elements, {args.threads} threads, {explain()['native']}, {platform.processor()}\n")
    print("| op | ms | GB/s | of the copy rate | eager ms | times faster |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, row in figures.items():
        ours = f"| {name} | {row['ms']:.2f} | {row['GB/s']:.1f} | {row['share of copy']:.0%} |"
        print(ours, "| |" if name == "copy" else f"{row['eager ms']:.1f} | {row['eager ms'] / row['ms']:.1f} |")
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"arguments": vars(args), "figures": figures}, file, indent=1)


if __name__ == "__main__":
    main()
