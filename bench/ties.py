"""TIES and DARE on one large tensor, streamed in blocks, beside straightforward torch that holds all of it.

python bench/ties.py [--entries 50000000] [--models 2] [--density 0.2] [--runs 3]

Each time is the fastest of the runs, each run a process of its own with one thread, that reads bfloat16 from files in
the page cache; without starting up. Memory is the peak of the process above what it held before (VmHWM). The plain
TIES sorts in float32, as mergekit does; the plain DARE draws a float32 mask.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

BLOCK = 1 << 18
CASES = ("ties", "dare_linear", "dare_ties")


def write(folder: Path, entries: int, models: int) -> None:
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(entries, generator=generator).mul_(0.02).bfloat16()
    for number in range(models + 1):
        change = torch.randn(entries, generator=generator).mul_(0.002) if number else torch.zeros(entries)
        (base + change).bfloat16().view(torch.uint8).numpy().tofile(folder / str(number))


def streamed(case: str, files: list[Path], entries: int, density: float) -> Tensor:
    from fmcompress.merging import dare, ties
    from fmcompress.merging.method import TensorSettings

    block, handles = torch.empty(len(files), BLOCK, dtype=torch.bfloat16), [file.open("rb") for file in files]

    def blocks() -> Iterator[tuple[int, Tensor]]:
        for begin in range(0, entries, BLOCK):
            for row, handle in zip(block, handles, strict=True):
                handle.seek(2 * begin)
                handle.readinto(row[: entries - begin].view(torch.uint8).numpy().data)
            yield begin, block[:, : entries - begin]

    weights = (1.0,) * (len(files) - 1)
    settings = TensorSettings("w", entries, weights, (density,) * len(weights), case == "ties", based=True)
    merge = getattr(ties if case == "ties" else dare, case)(settings, blocks)
    out = torch.empty(entries, dtype=torch.bfloat16)
    for begin, rows in blocks():
        merge(begin, rows, out[begin : begin + BLOCK])
    return out


def plain(case: str, files: list[Path], entries: int, density: float) -> Tensor:
    base, *models = (torch.from_file(str(f), size=entries, dtype=torch.bfloat16).float() for f in files)
    changes = torch.stack([model - base for model in models])
    for change in changes:
        if case == "ties":
            change[torch.argsort(change.abs(), descending=True)[int(density * entries) :]] = 0
        else:
            change *= (torch.rand(entries) < density) / density
    if case == "dare_linear":
        return (base + changes.sum(0)).bfloat16()
    agree = changes.sign() == torch.where(changes.sum(0) >= 0, 1, -1)
    change = (changes * agree).sum(0)
    return (base + (change / agree.sum(0).clamp(min=1) if case == "ties" else change)).bfloat16()


def child(how: str, case: str, folder: Path, entries: int, models: int, density: float) -> None:
    import time

    from fmcompress import ops
    from fmcompress.memory import resident_bytes
    from fmcompress.merging import dare, ties  # noqa: F401

    torch.set_num_threads(1)
    warm = torch.zeros(1)  # what the first op loads is of neither
    ops.weighted_sum_(warm, torch.zeros(1, 1), torch.ones(1))
    before, started = resident_bytes(), time.perf_counter()
    out = {"streamed": streamed, "plain": plain}[how](
        case, [folder / str(n) for n in range(models + 1)], entries, density
    )
    seconds = time.perf_counter() - started
    # not ru_maxrss, which a process inherits from the one that started it
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    assert out.isfinite().all()  # after the peak, as it takes memory of its own
    print(json.dumps({"seconds": seconds, "bytes": peak - before}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("entries", 50_000_000), ("models", 2), ("density", 0.2), ("runs", 3)):
        parser.add_argument(f"--{name}", type=type(value), default=value)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child[0], args.child[1], Path(args.child[2]), args.entries, args.models, args.density)
        return
    table = Table(box=None, pad_edge=False, title=f"{args.models} models, {args.entries:,} entries, OUT in memory too")
    for title in ("", "plain s", "streamed s", "times as fast", "plain MiB", "streamed MiB"):
        table.add_column(title, justify="right" if title else "left")
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), args.entries, args.models)
        sizes = [f"--{name}={getattr(args, name)}" for name in ("entries", "models", "density")]
        for case in CASES:
            found: dict[str, list[dict[str, float]]] = {"plain": [], "streamed": []}
            for _ in range(args.runs):
                for how, runs in found.items():
                    command = [sys.executable, __file__, *sizes, "--child", how, case, folder]
                    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
                    runs.append(json.loads(done.stdout))
            seconds = {how: min(run["seconds"] for run in runs) for how, runs in found.items()}
            memory = {how: max(run["bytes"] for run in runs) / 2**20 for how, runs in found.items()}
            table.add_row(
                case, f"{seconds['plain']:.2f}", f"{seconds['streamed']:.2f}",
                f"{seconds['plain'] / seconds['streamed']:.1f}", f"{memory['plain']:.0f}", f"{memory['streamed']:.0f}",
            )  # fmt: skip
    Console().print(table)


if __name__ == "__main__":
    main()
