"""Attention of one token over a long cache, as the fused step of decoding has it, beside its definition in torch.

Heads are those of Llama 8 B. Every token finds a cache of its own, together more than the GPU's cache holds, in one
CUDA graph. The result is checked against the definition first.

python bench/gpu_attend.py [--lengths 512,4096,32768] [--json FILE]
"""

import argparse
import sys
from functools import partial

import torch
from gpu import Row, Rows, arguments, cache_bytes, graphed, seconds
from torch import Tensor

from fmcompress.runtime.one_token import Kernels, TorchKernels, kernels_for

HEADS, KEY_HEADS, HEAD_DIM = 32, 8, 128
LENGTHS, TINY = "512,4096,32768", "40,64"
TOLERANCE = 2e-2  # of the largest number, in bfloat16
Case = list[Tensor | float]


def cases(length: int, count: int, device: torch.device) -> list[Case]:
    """So many times the arguments of Kernels.attend, for the last position of a full cache."""
    generator = torch.Generator(device).manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=device).bfloat16()

    angles = torch.rand(1, 1, HEAD_DIM, generator=generator, device=device) * 6
    tables = [angles.cos().bfloat16(), angles.sin().bfloat16()]
    position = torch.tensor([[length - 1]], device=device)
    one = [drawn(1, heads * HEAD_DIM) for heads in (HEADS, KEY_HEADS, KEY_HEADS)]
    caches = [[drawn(1, KEY_HEADS, length, HEAD_DIM) for _ in range(2)] for _ in range(count)]
    return [[*one, *tables, *cache, position, HEAD_DIM**-0.5] for cache in caches]


def checked(kernels: Kernels, case: Case) -> None:
    """Ends the case where the result is not that of the definition."""
    expected, actual = (by.attend(*case).double() for by in (TorchKernels(), kernels))
    off = (actual - expected).abs().max() / expected.abs().max()
    if not off <= TOLERANCE:  # NaN, too
        sys.exit(f"attention: wrong by {off:.3g} of the largest number")


def measure(rows: Rows, length: int, options: argparse.Namespace) -> None:
    """One length."""
    device, size = rows.device, 2 * 2 * KEY_HEADS * length * HEAD_DIM
    count = 2 if options.small else min(64, max(4, -(-4 * cache_bytes(device) // size)))
    given, kernels = cases(length, count, device), kernels_for(device)
    checked(kernels, given[0])
    ours, torchs = (
        seconds(graphed([partial(by.attend, *case) for case in given], device), device) / count
        for by in (kernels, TorchKernels())
    )
    about = {"case": f"a token over {length} positions, {HEADS} heads, {KEY_HEADS} of keys, bfloat16"}
    beside = {"baseline": "torch's ops", "baseline_s": torchs, "flops": 4.0 * HEADS * length * HEAD_DIM}
    rows.add(Row("attention", **about, **beside, seconds=ours, bytes=size, facts={"kernels": type(kernels).__name__}))


def main() -> None:
    """Every length, the shortest first."""
    parser = arguments(__doc__)
    parser.add_argument("--lengths", help=f"positions, by commas; {LENGTHS}, or {TINY} with --small")
    options = parser.parse_args()
    rows = Rows(torch.device(options.device), small=options.small, path=options.json)
    with torch.no_grad():
        for length in (options.lengths or (TINY if options.small else LENGTHS)).split(","):
            with rows.case():
                measure(rows, int(length), options)
    rows.end()


if __name__ == "__main__":
    main()
