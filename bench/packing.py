"""Packing against the copy rate, and the joint sweep against the pruning sweep, in turn in one process.

Rates count the bytes of the dense side; the copy is a clone of the same tensor, whose fresh pages cost alike.
"""

import statistics
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from solve import seconds
from torch import Tensor

from fmcompress import ops

ROWS, COLS, ROUNDS = 4096, 4096, 15


def in_turn(runs: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Median seconds of each, every round running all of them."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            times[name].append(seconds(run))
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def code_rows(table: Table, generator: torch.Generator) -> None:
    """2-, 3-, 4- and 8-bit codes."""
    for bits in ops.BITS:
        codes = torch.randint(0, 2**bits, (ROWS, COLS), generator=generator, dtype=torch.uint8)
        packed = ops.pack_codes(codes, bits)
        times = in_turn(
            {
                "copy": codes.clone,
                "pack": lambda codes=codes, bits=bits: ops.pack_codes(codes, bits),
                "unpack": lambda packed=packed, bits=bits: ops.unpack_codes(packed, bits, COLS),
            }
        )
        add(table, f"{bits}-bit codes", codes, times)


def bitmask_rows(table: Table, generator: torch.Generator) -> None:
    """Half of the values kept, at random."""
    mask = torch.rand(ROWS, COLS, generator=generator) < 0.5
    count = int(mask.sum())
    for dtype in (torch.float32, torch.bfloat16, torch.uint8):
        values = torch.randn(ROWS, COLS, generator=generator).mul_(50).to(dtype)
        bitmask, kept = ops.pack_bitmask(values, mask, count)
        times = in_turn(
            {
                "copy": values.clone,
                "pack": lambda values=values: ops.pack_bitmask(values, mask, count),
                "unpack": lambda bitmask=bitmask, kept=kept: ops.unpack_bitmask(bitmask, kept, COLS),
            }
        )
        add(table, f"bitmask, {dtype}".replace("torch.", ""), values, times)


def add(table: Table, name: str, dense: Tensor, times: dict[str, float]) -> None:
    """A row of rates in GB/s and shares of the copy rate."""
    rates = {run: dense.nbytes / time / 1e9 for run, time in times.items()}
    shares = [f"{rates[run]:.1f} ({100 * rates[run] / rates['copy']:.0f} %)" for run in ("pack", "unpack")]
    table.add_row(name, f"{rates['copy']:.1f}", *shares)


def sweep_rows(table: Table, generator: torch.Generator) -> None:
    """A block of 128 columns."""
    weight = torch.randn(ROWS, 128, generator=generator)
    factor = torch.randn(128, 128, generator=generator).mul_(0.05).triu(1) + torch.eye(128)
    prune = torch.rand(ROWS, 128, generator=generator) < 0.5
    scale, zero = ops.search_grid(weight, 4)
    scale, zero, work = scale[:, None], zero[:, None], weight.clone()
    times = in_turn(
        {
            "prune": lambda: ops.sweep_block_(work.copy_(weight), factor, prune),
            "joint": lambda: ops.joint_sweep_block_(work.copy_(weight), factor, scale, zero, 4, prune),
            "2:4": lambda: ops.sweep_block_(work.copy_(weight), factor, keep=2, group=4),
            "2:4 joint": lambda: ops.joint_sweep_block_(work.copy_(weight), factor, scale, zero, 4, keep=2, group=4),
            "quantize": lambda: ops.joint_sweep_block_(work.copy_(weight), factor, scale, zero, 4),
        }
    )
    for name, time in times.items():
        base = times["2:4" if name.startswith("2:4") else "prune"]
        table.add_row(name, f"{1e3 * time:.3f}", f"{time / base:.2f}")


def main() -> None:
    """Print both tables."""
    generator = torch.Generator().manual_seed(0)
    packing = Table("what", "copy GB/s", "pack GB/s (of copy)", "unpack GB/s (of copy)", title=f"{ROWS} x {COLS}")
    code_rows(packing, generator)
    bitmask_rows(packing, generator)
    sweeps = Table("sweep", "ms", "to pruning", title=f"block of {ROWS} x 128, float32")
    sweep_rows(sweeps, generator)
    console = Console(width=120)
    console.print(packing)
    console.print(sweeps)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()
