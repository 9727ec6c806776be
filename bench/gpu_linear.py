"""packed_linear on a GPU against cuBLAS on the dense weight, and the bytes a second of each against a device copy.

Every form multiplies by several copies of its weight, more than the cache holds, in one CUDA graph: neither a warm
cache nor Python counts. Each product is checked against the dense one first.
"""

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn.functional import linear

import fmcompress
from fmcompress import ops

SHAPES = [(4096, 4096), (1024, 4096), (11008, 4096), (14336, 4096), (4096, 14336)]
# sparsity: a share, or 2 for 2:4; bits: 0 for values
FORMS = {
    "8 bits": (0.0, 8),
    "4 bits": (0.0, 4),
    "3 bits": (0.0, 3),
    "2 bits": (0.0, 2),
    "50 %": (0.5, 0),
    "70 %": (0.7, 0),
    "2:4": (2, 0),
    "50 % + 8 bits": (0.5, 8),
    "50 % + 4 bits": (0.5, 4),
    "2:4 + 4 bits": (2, 4),
}
GROUP, ROUNDS = 128, 20
TOLERANCE = {torch.bfloat16: 1.5e-2, torch.float16: 2e-3}
Parts = dict[str, Any]


def packed(weight: Tensor, sparsity: float, bits: int) -> tuple[Tensor, Parts]:
    """The dense weight that the parts of a form stand for, and the parts."""
    rows, cols = weight.shape
    parts: Parts = {}
    kept = torch.ones_like(weight, dtype=torch.bool)
    if sparsity == 2:
        kept = ~ops.nm_mask(weight.float().abs(), 2, 4)
        places = kept.view(rows, -1, 4).nonzero()[:, 2].to(torch.uint8).view(rows, cols // 2)
        parts |= {"indices": ops.pack_codes(places, 2), "keep": 2, "group": 4}
    elif sparsity:
        kept = torch.rand(rows, cols, device=weight.device) >= sparsity
        parts["bitmask"] = ops.pack_bitmask(weight, kept)[0]
        parts["starts"] = ops.row_starts(parts["bitmask"])
    shape = (1, -1) if "bitmask" in parts else (rows, -1)
    if not bits:
        values = weight[kept].view(shape)
        return weight * kept, parts | {"entries": values[0].contiguous() if "bitmask" in parts else values}
    scale, zero = ops.search_grid(weight.float().view(-1, GROUP), bits, symmetric=True, candidates=1)
    scale = scale.to(weight.dtype)
    codes = ops.quantize(weight.float().view(-1, GROUP), scale.float(), zero, bits)
    dense = ops.dequantize(codes, scale.float(), zero).view(rows, cols).to(weight.dtype) * kept
    entries = ops.pack_codes(codes.view(rows, cols)[kept].view(shape), bits)
    parts |= {"bits": bits, "group_size": GROUP, "scale": scale.view(rows, -1)}
    return dense, parts | {"entries": entries[0].contiguous() if "bitmask" in parts else entries}


def seconds(runs: list[Callable[[], Tensor]]) -> float:
    """Of one of the runs: the least of some replays of a graph of all of them."""
    for run in runs[:2]:
        run()  # what is compiled or allocated once
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for run in runs:
            run()
    times = []
    for _ in range(ROUNDS):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end) / 1e3 / len(runs))
    return min(times[2:])


def copies_of(size: int) -> int:
    """So many weights of that size do not fit the cache."""
    return max(2, -(-4 * torch.cuda.get_device_properties(0).L2_cache_size // max(1, size)))


def copy_rate() -> float:
    """Bytes a second, read and written, of a copy of a gigabyte."""
    source = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.numel() / seconds([lambda: target.copy_(source)] * 4)


def size_of(parts: Parts) -> int:
    """Bytes of all tensors."""
    return sum(part.nbytes for part in parts.values() if isinstance(part, Tensor))


def measure(form: str, rows: int, cols: int, tokens: int, dtype: torch.dtype) -> dict[str, Any]:
    """Seconds and bytes of one form, "dense" for cuBLAS."""
    weight = torch.randn(rows, cols, device="cuda").mul_(0.02).to(dtype)
    x = torch.randn(tokens, cols, device="cuda").to(dtype)
    if form == "dense":
        weights = [weight.clone() for _ in range(copies_of(weight.nbytes))]
        return {"seconds": seconds([partial(linear, x, copy) for copy in weights]), "bytes": weight.nbytes}
    dense, parts = packed(weight, *FORMS[form])
    actual = ops.packed_linear(x, **parts).double()
    off = (actual - linear(x.double(), dense.double())).abs() / linear(x.double().abs(), dense.double().abs())
    if not off.max() <= TOLERANCE[dtype]:  # NaN, too
        sys.exit(f"{form}, {rows} x {cols}, {tokens} tokens, {dtype}: wrong by {off.max():.3g} of the products' sum")
    size = size_of(parts)
    copies = [
        {name: part.clone() if isinstance(part, Tensor) else part for name, part in parts.items()}
        for _ in range(copies_of(size))
    ]
    return {"seconds": seconds([partial(ops.packed_linear, x, **copy) for copy in copies]), "bytes": size}


def main() -> None:
    """Measure every form and shape, print tables, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, nargs="+", default=[1, 2, 4, 8, 32])
    parser.add_argument("--dtype", choices=["bfloat16", "float16"], default="bfloat16")
    parser.add_argument("--backend", choices=["native", "triton"], default="native")
    parser.add_argument("--json", type=Path, help="where the numbers go, too")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit(f"no GPU: torch {torch.__version__} sees none.")
    explained = fmcompress.explain()
    if options.backend == "native" and explained["cuda"] != "built in":
        sys.exit(f"no CUDA kernels: {explained['cuda']}")
    dtype, console = getattr(torch, options.dtype), Console(width=120)
    card, rate = torch.cuda.get_device_name(0), copy_rate()
    rows_of_json = []
    with fmcompress.use(options.backend), torch.no_grad():
        for rows, cols in SHAPES:
            title = f"{rows} x {cols}, {options.dtype}, {options.backend}, {card}: a copy moves {rate / 1e9:.0f} GB/s"
            table = Table("form", "tokens", "us", "to dense", "MB", "GB/s", "of copy", title=title)
            for tokens in options.tokens:
                base = 0.0
                for form in ("dense", *FORMS):
                    found = measure(form, rows, cols, tokens, dtype)
                    base = base or found["seconds"]
                    speed = found["bytes"] / found["seconds"]
                    cells = [f"{1e6 * found['seconds']:.1f}", f"{found['seconds'] / base:.2f}"]
                    cells += [f"{found['bytes'] / 1e6:.1f}", f"{speed / 1e9:.0f}", f"{100 * speed / rate:.0f} %"]
                    table.add_row(form, str(tokens), *cells)
                    named = {"form": form, "rows": rows, "cols": cols, "tokens": tokens}
                    rows_of_json.append(
                        {**named, **found, "to_dense": found["seconds"] / base, "of_copy": speed / rate}
                    )
            console.print(table)
    about = {"card": card, "torch": torch.__version__, "dtype": options.dtype, "backend": options.backend}
    text = json.dumps({**about, "copy_bytes_per_s": rate, "runs": rows_of_json}, indent=1)
    if options.json:
        options.json.write_text(text)
    print(text if not options.json else f"numbers: {options.json}")


if __name__ == "__main__":
    main()
