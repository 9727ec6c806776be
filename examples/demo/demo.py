"""The main job on the embedded model: prune and quantize it, and print what each way costs and saves."""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
SEQUENCE_LENGTH = 256
CALIBRATION = [
    *("--calibration", str(HERE / "calibration.txt.xz")),
    *("--samples", "64", "--sequence-length", str(SEQUENCE_LENGTH)),
]
TARGETS = [("50 %", ["--sparsity", "0.5"]), ("2:4", ["--pattern", "2:4"]), ("4:8", ["--pattern", "4:8"])]
PACKED = ["--format", "packed"]
RUNS = [
    *[
        (label, method, ["prune", *target, "--method", method])
        for label, target in TARGETS
        for method in ("magnitude", "sparsegpt")
    ],
    ("50 %, packed", "sparsegpt", ["prune", "--sparsity", "0.5", *PACKED]),
    ("4 bits", "rtn", ["quantize", "--group-size", "64", "--method", "rtn"]),
    ("4 bits", "gptq", ["quantize", "--group-size", "64"]),
    ("50 % + 4 bits, packed", "sparsegpt", ["prune", "--sparsity", "0.5", "--bits", "4", *PACKED]),
]


def fmcompress(*arguments: str) -> dict:
    """Run one command of the command line with --json, its progress shown as it is."""
    command = [sys.executable, "-m", "fmcompress", *arguments, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    return json.loads(done.stdout)


def perplexity(model: Path, windows: int | None) -> float:
    limit = ["--max-windows", str(windows)] if windows else []
    text = str(HERE / "heldout.txt.xz")
    length = str(SEQUENCE_LENGTH)
    return fmcompress("eval", str(model), "--text", text, "--sequence-length", length, *limit)["perplexity"]


def size_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo-output"), help="folder for the pruned checkpoints")
    parser.add_argument("--windows", type=int, help="evaluate on the first so many windows only (all by default)")
    options = parser.parse_args()
    shutil.rmtree(options.out, ignore_errors=True)
    options.out.mkdir(parents=True)
    columns = "what", "method", "zeros", "perplexity", "bytes", "bits a weight", "seconds"
    table, dense = Table(*columns, title="compressing examples/demo/model"), HERE / "model"
    table.add_row("dense", "", "", f"{perplexity(dense, options.windows):.2f}", f"{size_bytes(dense):,}", "16.00", "")
    for number, (label, method, command) in enumerate(RUNS, 1):
        print(f"{number}/{len(RUNS)}: {label}, {method}", file=sys.stderr)
        out = options.out / f"{number:02}-{method}"
        data = [] if method in ("magnitude", "rtn") else CALIBRATION
        facts = fmcompress(command[0], str(dense), str(out), *command[1:], *data, "--quiet")
        found, zeros = perplexity(out, options.windows), f"{100 * facts['sparsity']:.2f} %"
        bits, seconds = f"{facts['bits_per_weight']:.2f}", f"{facts['seconds']:.1f}"
        table.add_row(label, method, zeros, f"{found:.2f}", f"{size_bytes(out):,}", bits, seconds)
    console = Console(width=max(100, Console().width))
    console.print(table)
    console.print(
        f"Perplexity on heldout.txt.xz, windows of {SEQUENCE_LENGTH} tokens. Bits a weight count the linear "
        f"layers of the blocks, scales included. The checkpoints are in {options.out}.",
        soft_wrap=True,
    )


if __name__ == "__main__":
    main()
