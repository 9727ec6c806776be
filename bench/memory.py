"""Peak memory of a prune: does it grow with depth, and does a checkpoint larger than the allowed memory go through?

Makes synthetic Llama checkpoints (random bfloat16 weights, the demo's tokenizer); each is pruned in its own process.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
from itertools import chain
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from shards import write_shards

DEMO = Path(__file__).parents[1] / "examples" / "demo"


def make_checkpoint(folder: Path, blocks: int, hidden: int, intermediate: int) -> int:
    """A Llama checkpoint with one shard a block, written a block at a time. Returns its bytes."""
    folder.mkdir()
    config = json.loads((DEMO / "model" / "config.json").read_text())
    config |= {"num_hidden_layers": blocks, "hidden_size": hidden, "intermediate_size": intermediate}
    config |= {"head_dim": 64, "num_attention_heads": hidden // 64, "num_key_value_heads": hidden // 64}
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(DEMO / "model" / name, folder)
    generator = torch.Generator().manual_seed(0)

    def matrix(rows: int, cols: int) -> torch.Tensor:
        return torch.randn(rows, cols, generator=generator).mul_(cols**-0.5).bfloat16()

    embed = {"model.embed_tokens.weight": matrix(config["vocab_size"], hidden)}
    embed["model.norm.weight"] = torch.ones(hidden).bfloat16()
    inside = (_block(number, hidden, intermediate, matrix) for number in range(blocks))
    return write_shards(folder, chain([embed], inside), blocks + 1)


def _block(number: int, hidden: int, intermediate: int, matrix) -> dict[str, torch.Tensor]:
    prefix = f"model.layers.{number}."
    norms = {prefix + f"{name}_layernorm.weight": torch.ones(hidden).bfloat16() for name in ("input", "post_attention")}
    attention = {prefix + f"self_attn.{name}_proj.weight": matrix(hidden, hidden) for name in "qkvo"}
    mlp = {prefix + f"mlp.{name}_proj.weight": matrix(intermediate, hidden) for name in ("gate", "up")}
    return norms | attention | mlp | {prefix + "mlp.down_proj.weight": matrix(hidden, intermediate)}


def prune(model: Path, out: Path, samples: int, limit_bytes: int | None = None) -> dict:
    """Run the command line in a process whose address space is limited; returns its facts."""

    def limit() -> None:
        if limit_bytes is not None:
            resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))

    command = [
        sys.executable,
        "-m",
        "fmcompress",
        "prune",
        str(model),
        str(out),
        "--sparsity",
        "0.5",
        "--json",
        "--quiet",
    ]
    command += [
        "--calibration",
        str(DEMO / "calibration.txt.xz"),
        "--sequence-length",
        "256",
        "--samples",
        str(samples),
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, preexec_fn=limit)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--intermediate", type=int, default=1408)
    parser.add_argument("--blocks", type=int, nargs="+", default=[6, 24])
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--limit-bytes", type=int, help="address space that the process may use (RLIMIT_AS)")
    options = parser.parse_args()
    table = Table("blocks", "checkpoint MB", "limit MB", "peak resident MB", "x first", "seconds")
    first = None
    for blocks in options.blocks:
        with tempfile.TemporaryDirectory() as folder:
            model = Path(folder) / "model"
            size = make_checkpoint(model, blocks, options.hidden, options.intermediate)
            facts = prune(model, Path(folder) / "out", options.samples, options.limit_bytes)
        peak = facts["peak_memory_bytes"]
        first = first or peak
        limit = f"{options.limit_bytes / 1e6:.0f}" if options.limit_bytes else "none"
        table.add_row(
            str(blocks),
            f"{size / 1e6:.0f}",
            limit,
            f"{peak / 1e6:.0f}",
            f"{peak / first:.3f}",
            f"{facts['seconds']:.1f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
