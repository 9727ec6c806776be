"""CocktailSGD's ops against the copy rate and against a composition of PyTorch ops, in turn in one process.

python bench/cocktail.py [--numel 25000000] [--threads 2] [--runs 15] [--json FILE]

float32 with a float32 residual, whole blocks, 4 bits in groups of 128; compress_mean_ on the whole tensor. Which bytes
have to move says fmcompress.gradients.op_speeds; `fmcompress gradients bench` measures the ops of a training step.

A clone of an array takes fresh pages; the copy here goes into one that is there, as the ops do.
"""

import argparse
import json
import platform

import torch
from eager_cocktail import EagerCocktail
from torch import Tensor

from fmcompress import ops
from fmcompress._backends import explain
from fmcompress._ops import HEADER_BYTES, Layout
from fmcompress.gradients.op_speeds import in_turn, mean_bytes, moved_bytes
from fmcompress.reference.cocktail import sampled_blocks

WORKERS = 4


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
    moved = moved_bytes(numel, payload, layout) | {"compress_mean_": mean_bytes(numel, layout, WORKERS)}
    copy_rate = moved["copy"] / times["copy"]
    return {
        name: {
            "ms": 1e3 * times[name],
            "GB/s": count / times[name] / 1e9,
            "share of copy": count / times[name] / copy_rate,
            "eager ms": 1e3 * times.get(f"eager {name}", float("nan")),
        }
        for name in times
        if (count := moved.get(name))
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
