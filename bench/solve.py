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
from typing import Any

import torch
from eager import eager_gptq, eager_sparsegpt
from rich.console import Console
from rich.table import Table
from torch import Tensor

from fmcompress.layerwise import factor_hessian
from fmcompress.pruning import NM, LayerResult, Unstructured, sparsegpt
from fmcompress.quantization import Grid, gptq

Solver = Callable[[], Any]
SHAPES = [(1024, 1024), (2048, 2048), (4096, 4096), (4096, 11008)]
HALF, PAIRS, GRID = Unstructured(0.5), NM(2, 4), Grid(4, 128)


def methods(weight: Tensor, hessian: Tensor, energy: float | None) -> dict[str, tuple[Solver, Solver | None]]:
    """Name -> our solver and the eager loop that does the same, if there is one."""
    known = {"output_energy": energy}
    return {
        "50 %": (lambda: sparsegpt(weight, hessian, HALF, **known), lambda: eager_sparsegpt(weight, hessian, HALF)),
        "2:4": (
            lambda: sparsegpt(weight, hessian, NM(2, 4), **known),
            lambda: eager_sparsegpt(weight, hessian, NM(2, 4)),
        ),
        "4-bit g128": (lambda: gptq(weight, hessian, GRID, **known), lambda: eager_gptq(weight, hessian, GRID)),
        "50 % + 4-bit": (lambda: sparsegpt(weight, hessian, HALF, grid=GRID, **known), None),
    }


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
    free, known, results = methods(weight, hessian, None), methods(weight, hessian, energy), []
    for name, (ours, eager) in known.items():
        runs: dict[str, Solver] = {
            "torch cholesky": lambda: torch.linalg.cholesky(damped),
            "our cholesky": lambda: factor_hessian(damped, 0.0),
            "gemm": lambda: weight @ hessian,
            "ours": ours,
            "with energy": free[name][0],
            **({} if eager is None else {"eager": eager}),
        }
        times: dict[str, list[float]] = {run: [] for run in runs}
        for _ in range(repeats):  # in turn, so that a slow moment of the machine hits all alike
            for run, do in runs.items():
                times[run].append(seconds(do))
        middle = {run: statistics.median(values) for run, values in times.items()}
        rate = 2 * rows * cols**2 / middle["gemm"]
        floor = min(middle["torch cholesky"], middle["our cholesky"]) + product_flops(rows, cols) / rate
        found = {
            "rows": rows,
            "cols": cols,
            "method": name,
            "ours_s": middle["ours"],
            "with_energy_s": middle["with energy"],
            "floor_s": floor,
            "gemm_gflops": rate / 1e9,
            "over_floor": middle["ours"] / floor,
        }
        if eager is not None:
            found |= {"eager_s": middle["eager"], "speedup": middle["eager"] / middle["ours"]}
            found |= agreement(weight, hessian, ours(), eager()[0])
        results.append(found)
    return results


def agreement(weight: Tensor, hessian: Tensor, ours: LayerResult, eager: Tensor) -> dict:
    """How far our error and zeros are from the eager loop's."""
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
    headings = "weight", "method", "eager s", "ours s", "speed-up", "floor s", "x floor", "with energy s"
    table, found = Table(*headings, "loss diff", "zeros diff"), []
    for rows, cols in SHAPES:
        if cols <= options.largest:
            for r in measure(rows, cols, options.repeats if cols <= 4096 else 1):
                found.append(r)
                print(json.dumps(r), file=sys.stderr, flush=True)
                eager = (f"{r['eager_s']:.3f}", f"{r['speedup']:.1f}") if "eager_s" in r else ("", "")
                same = (f"{r['loss_difference']:.1e}", f"{r['masks_differ']:.1e}") if "eager_s" in r else ("", "")
                table.add_row(
                    f"{rows}x{cols}", r["method"], eager[0], f"{r['ours_s']:.3f}", eager[1],
                    f"{r['floor_s']:.3f}", f"{r['over_floor']:.2f}", f"{r['with_energy_s']:.3f}", *same,
                )  # fmt: skip
    Console(width=140).print(table)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, GEMM {found[-1]['gemm_gflops']:.0f} GFLOP/s")
    if options.json:
        with open(options.json, "w") as file:
            json.dump(found, file, indent=1)


if __name__ == "__main__":
    main()
