"""packed_linear on a GPU against cuBLAS on the dense weight: the bytes of each form, and of a device copy.

Every form multiplies by several copies of its weight, more than the cache holds, in one CUDA graph: neither a warm
cache nor Python counts. Each product is checked against the dense one first.

python bench/gpu_linear.py [--all | --few] [--dtype float16] [--backend triton] [--json FILE]
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial

import torch
from gpu import Row, Rows, arguments, cache_bytes, graphed, seconds
from gpu_forms import FORMS, Parts, copied, packed, size_of
from torch import Tensor
from torch.nn.functional import linear

import fmcompress
from fmcompress import ops

SHAPES = [(4096, 14336), (14336, 4096), (4096, 4096), (1024, 4096)]
MORE_SHAPES = [*SHAPES, (11008, 4096)]
TINY = [(96, 256)]
TOKENS, MORE_TOKENS = [1], [1, 2, 4, 8, 32]
SEVERAL, MANY = 8, (14336, 4096)  # what else of the default set: tokens at once, at one shape
LARGE = 4096 * 4096  # weights; below it one product is over before memory is busy
LEAST = 0.6  # of the floor
TOLERANCE = {torch.bfloat16: 1.5e-2, torch.float16: 2e-3}
NAMES = {torch.bfloat16: "bfloat16", torch.float16: "float16"}


def cases(options: argparse.Namespace) -> list[tuple[int, int, int]]:
    """Rows, columns and tokens, the most telling first."""
    if options.small:
        return [(*shape, tokens) for shape in TINY for tokens in (1, SEVERAL, 32)]
    if options.few:
        return [(*SHAPES[0], 1)]
    if options.all:
        return [(*shape, tokens) for shape in MORE_SHAPES for tokens in MORE_TOKENS]
    return [*((*shape, tokens) for shape in SHAPES for tokens in TOKENS), (*MANY, SEVERAL)]


def timed(runs: list[Callable[[], Tensor]], device: torch.device, rounds: int) -> float:
    """Seconds of one of the runs, all of which make one graph."""
    return seconds(graphed(runs, device), device, rounds) / len(runs)


def several(size: int, device: torch.device, small: bool) -> int:
    """So many weights of that size do not fit the cache."""
    return 2 if small else max(2, -(-4 * cache_bytes(device) // max(1, size)))


def checked(form: str, x: Tensor, dense: Tensor, parts: Parts) -> None:
    """Ends the case where a product is not that of the dense weight."""
    actual = ops.packed_linear(x, **parts).double()
    off = (actual - linear(x.double(), dense.double())).abs() / linear(x.double().abs(), dense.double().abs())
    if not off.max() <= TOLERANCE[x.dtype]:  # NaN, too
        shape = f"{dense.shape[0]} x {dense.shape[1]}, {len(x)} tokens, {NAMES[x.dtype]}"
        sys.exit(f"{form}, {shape}: wrong by {off.max():.3g} of the products' sum")


def measure(rows: Rows, case: tuple[int, int, int], dtype: torch.dtype, rounds: int) -> None:
    """Every form at one shape, after cuBLAS."""
    height, width, tokens = case
    device = rows.device
    generator = torch.Generator(device).manual_seed(0)
    weight = torch.randn(height, width, generator=generator, device=device).mul_(0.02).to(dtype)
    x = torch.randn(tokens, width, generator=generator, device=device).to(dtype)
    rest = 2 * tokens * (width + height)  # bytes of inputs and outputs
    shape = f"{height} x {width}, {tokens} token{'s' if tokens > 1 else ''}, {NAMES[dtype]}"
    common = {"group": "packed matvec", "bytes": 0.0, "flops": 2.0 * height * width * tokens, "rate": "bfloat16"}
    copies = [weight.clone() for _ in range(several(weight.nbytes, device, rows.small))]
    dense_s = timed([partial(linear, x, copy) for copy in copies], device, rounds)
    del copies
    rows.add(Row(**{**common, "case": f"dense, {shape}", "seconds": dense_s, "bytes": weight.nbytes + rest}))
    for form, kind in FORMS.items():
        with rows.case():
            dense, parts = packed(weight, *kind)
            checked(form, x, dense, parts)
            size = size_of(parts)
            many = [copied(parts) for _ in range(several(size, device, rows.small))]
            found = timed([partial(ops.packed_linear, x, **copy) for copy in many], device, rounds)
            least = LEAST if tokens == 1 and height * width >= LARGE else None
            facts = {"weight_bytes": size, "weight_bytes_per_s": size / found, "dense_weight_bytes": weight.nbytes}
            about = {"case": f"{form}, {shape}", "seconds": found, "baseline": "cuBLAS", "baseline_s": dense_s}
            rows.add(Row(**{**common, **about, "bytes": size + rest, "least_of_floor": least, "facts": facts}))


def main() -> None:
    """Measure every form at every shape, the large ones first."""
    parser = arguments(__doc__)
    parser.add_argument("--all", action="store_true", help="every shape and number of tokens: some minutes")
    parser.add_argument("--few", action="store_true", help="one token at the first shape alone")
    parser.add_argument("--dtype", choices=list(NAMES.values()), default="bfloat16")
    parser.add_argument("--backend", choices=["native", "triton"], default="native")
    options = parser.parse_args()
    device = torch.device(options.device)
    cuda = fmcompress.explain()["cuda"] if device.type == "cuda" and options.backend == "native" else "built in"
    if cuda != "built in":
        sys.exit(f"no CUDA kernels: {cuda}")
    rows = Rows(device, small=options.small, path=options.json)
    with fmcompress.use(options.backend), torch.no_grad():
        for case in cases(options):
            measure(rows, case, getattr(torch, options.dtype), 3 if options.small else 20)
    rows.end()


if __name__ == "__main__":
    main()
