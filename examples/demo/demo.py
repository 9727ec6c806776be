"""The main job on the embedded model: prune it by magnitude and by SparseGPT, and print what each costs."""

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
TARGETS = [("50 %", ["--sparsity", "0.5"]), ("2:4", ["--pattern", "2:4"]), ("4:8", ["--pattern", "4:8"])]


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
    table = Table("pattern", "method", "zeros", "perplexity", "bytes", "seconds", title="pruning examples/demo/model")
    dense = HERE / "model"
    table.add_row("dense", "", "", f"{perplexity(dense, options.windows):.2f}", f"{size_bytes(dense):,}", "")
    for label, target in TARGETS:
        for method in ("magnitude", "sparsegpt"):
            out = options.out / f"{method}-{label.replace(' %', '').replace(':', 'of')}"
            text = ["--calibration", str(HERE / "calibration.txt.xz"), "--samples", "64"]
            text += ["--sequence-length", str(SEQUENCE_LENGTH)]
            facts = fmcompress("prune", str(dense), str(out), *target, "--method", method, *text)
            found, zeros = perplexity(out, options.windows), f"{100 * facts['sparsity']:.2f} %"
            table.add_row(label, method, zeros, f"{found:.2f}", f"{size_bytes(out):,}", f"{facts['seconds']:.1f}")
    console = Console()
    console.print(table)
    console.print(
        f"Perplexity on heldout.txt.xz, windows of {SEQUENCE_LENGTH} tokens. Zeros in a dense file save no bytes by "
        f"themselves. The checkpoints are in {options.out}.",
        soft_wrap=True,
    )


if __name__ == "__main__":
    main()
