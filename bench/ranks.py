"""Two processes against two threads: what it costs to share a run among the ranks of torchrun. README's figure.

python bench/ranks.py [--hidden 1024 --intermediate 2816 --blocks 3] [--samples 64] [--runs 3] [-- --pattern 2:4 …]

A synthetic Llama (random bfloat16 weights, the demo's tokenizer) is pruned in turn by one process with as many threads
as there are ranks, by one thread alone, and by ranks of one thread each; the best of all runs counts. Seconds are those
that the command reports: reading the model and the text, all blocks, the check; not the start of Python and torchrun.
CPU seconds are those of all processes, their start included: what a busy machine can still tell.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from memory import DEMO, make_checkpoint
from rich.console import Console
from rich.table import Table


def prune(model: Path, out: Path, samples: int, ranks: int, threads: int, options: list[str]) -> dict[str, Any]:
    """Run the command line, under torchrun where there are several ranks; returns its facts."""
    launch = [sys.executable]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    if ranks > 1:  # which then gives each its share of the cores
        launch += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
        del environment["OMP_NUM_THREADS"]
    command = [*launch, "-m", "fmcompress", "prune", str(model), str(out), "--json", "--quiet", "--force"]
    command += ["--calibration", str(DEMO / "calibration.txt.xz"), "--sequence-length", "256"]
    command += ["--samples", str(samples), *options]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {**json.loads(done.stdout), "cpu_seconds": cpu_seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--intermediate", type=int, default=2816)
    parser.add_argument("--blocks", type=int, default=3)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("options", nargs="*", help="of fmcompress prune; --sparsity 0.5 unless given")
    args = parser.parse_args()
    options = args.options or ["--sparsity", "0.5"]
    ways = {
        f"1 process, {args.ranks} threads": (1, args.ranks),
        "1 process, 1 thread": (1, 1),
        f"{args.ranks} ranks, 1 thread each": (args.ranks, 1),
    }
    best: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        make_checkpoint(model, args.blocks, args.hidden, args.intermediate)
        for _ in range(args.runs):
            for name, (ranks, threads) in ways.items():
                facts = prune(model, Path(folder) / "out", args.samples, ranks, threads, options)
                if name not in best or facts["seconds"] < best[name]["seconds"]:
                    best[name] = facts
    table = Table("how", "seconds", "× first", "exchange and waiting", "of it", "CPU s", "MB a process")
    first = next(iter(best.values()))["seconds"]
    for name, facts in best.items():
        seconds, exchange = facts["seconds"], facts["exchange_seconds"]
        share = f"{100 * exchange / seconds:.0f} %"
        peak = f"{facts['peak_memory_bytes'] / 1e6:.0f}"
        cpu = f"{facts['cpu_seconds']:.1f}"
        table.add_row(name, f"{seconds:.1f}", f"{seconds / first:.2f}", f"{exchange:.1f} s", share, cpu, peak)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
