"""Times the layer solve against the eager loop and against the floor, in turn in one process, and prints a table.

The floor is one Cholesky (torch's or ours, whichever is faster) and the left-looking products at the rate of a large
matrix product, both measured in the same run.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable

import torch
from eager import eager_sparsegpt
from rich.console import Console
from rich.table import Table
from torch import Tensor

from fmcompress.layerwise import factor_hessian
from fmcompress.pruning import NM, Unstructured, sparsegpt

SHAPES = [(1024, 1024), (2048, 2048), (4096, 4096), (4096, 11008)]
PATTERNS = [Unstructured(0.5), NM(2, 4)]


def layer(rows: int, cols: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A weight [rows, cols] and the Hessian of inputs whose neighbours are correlated and whose scales differ."""
    generator = torch.Generator().manual_seed(seed)
    scales = torch.logspace(-1, 1, cols)[torch.randperm(cols, generator=generator)]
    hessian = torch.zeros(cols, cols)
    for _ in range(2):
        inputs = torch.randn(min(cols, 4096), cols, generator=generator) * scales
        inputs += 0.5 * inputs.roll(1, 1)
        hessian.addmm_(inputs.T, inputs)
    return torch.randn(rows, cols, generator=generator), hessian.div_(2 * min(cols, 4096))


def seconds(run: Callable[[], object]) -> float:
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def product_flops(rows: int, cols: int) -> float:
    """Operations of the left-looking products: rows x cols errors, each absorbed by half of the columns."""
    return float(rows) * cols**2


def measure(rows: int, cols: int, repeats: int) -> list[dict]:
    weight, hessian = layer(rows, cols)
    energy = float(((weight @ hessian) * weight).sum(dtype=torch.float64))
    damped = hessian + 0.1 * torch.eye(cols)
    results = []
    for pattern in PATTERNS:
        times: dict[str, list[float]] = {
            name: [] for name in ("eager", "ours", "with energy", "torch cholesky", "our cholesky", "gemm")
        }
        for _ in range(repeats):  # in turn, so that a slow moment of the machine hits all alike
            times["torch cholesky"].append(seconds(lambda: torch.linalg.cholesky(damped)))
            times["our cholesky"].append(seconds(lambda: factor_hessian(damped, 0.0)))
            times["gemm"].append(seconds(lambda: weight @ hessian))
            times["eager"].append(seconds(lambda p=pattern: eager_sparsegpt(weight, hessian, p)))
            times["ours"].append(seconds(lambda p=pattern: sparsegpt(weight, hessian, p, output_energy=energy)))
            times["with energy"].append(seconds(lambda p=pattern: sparsegpt(weight, hessian, p)))
        middle = {name: statistics.median(values) for name, values in times.items()}
        rate = 2 * rows * cols**2 / middle["gemm"]
        floor = min(middle["torch cholesky"], middle["our cholesky"]) + product_flops(rows, cols) / rate
        results.append(
            {
                "rows": rows,
                "cols": cols,
                "pattern": str(pattern),
                "eager_s": middle["eager"],
                "ours_s": middle["ours"],
                "with_energy_s": middle["with energy"],
                "floor_s": floor,
                "gemm_gflops": rate / 1e9,
                "speedup": middle["eager"] / middle["ours"],
                "over_floor": middle["ours"] / floor,
                **agreement(weight, hessian, pattern, energy),
            }
        )
    return results


def agreement(weight: Tensor, hessian: Tensor, pattern: Unstructured | NM, energy: float) -> dict:
    """How far our error and mask are from the eager loop's."""
    ours, (eager, _) = (
        sparsegpt(weight, hessian, pattern, output_energy=energy),
        eager_sparsegpt(weight, hessian, pattern),
    )
    delta = eager - weight
    loss = float(((delta @ hessian) * delta).sum(dtype=torch.float64))
    different = int(((ours.weight == 0) != (eager == 0)).sum())
    return {"loss_difference": abs(ours.loss - loss) / loss, "masks_differ": different / weight.numel()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--largest", type=int, default=11008, help="leave out shapes with more columns")
    parser.add_argument("--json", help="also write the results to this file")
    options = parser.parse_args()
    measure(256, 256, 1)  # warm up threads and allocators
    table = Table(
        "weight",
        "pattern",
        "eager s",
        "ours s",
        "speed-up",
        "floor s",
        "x floor",
        "with energy s",
        "loss diff",
        "mask diff",
    )
    found = []
    for rows, cols in SHAPES:
        if cols <= options.largest:
            for r in measure(rows, cols, options.repeats if cols <= 4096 else 1):
                found.append(r)
                print(json.dumps(r), file=sys.stderr, flush=True)
                table.add_row(
                    f"{rows}x{cols}", r["pattern"], f"{r['eager_s']:.3f}", f"{r['ours_s']:.3f}", f"{r['speedup']:.1f}",
                    f"{r['floor_s']:.3f}", f"{r['over_floor']:.2f}", f"{r['with_energy_s']:.3f}",
                    f"{r['loss_difference']:.1e}", f"{r['masks_differ']:.1e}",
                )  # fmt: skip
    Console(width=140).print(table)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, GEMM {found[-1]['gemm_gflops']:.0f} GFLOP/s")
    if options.json:
        with open(options.json, "w") as file:
            json.dump(found, file, indent=1)


if __name__ == "__main__":
    main()
