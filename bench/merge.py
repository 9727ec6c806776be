"""Merging three sharded checkpoints beside copying them, in rate and memory; mergekit on the same recipe if it is there.

python bench/merge.py [--layers 10 --hidden 2048 --intermediate 5632] [--runs 3] [--mergekit PATH/TO/mergekit-yaml]

Bytes are those of tensor files, read and written: a merge of n checkpoints reads n and writes one, a copy reads one and
writes one. Files are in the page cache, and what was written is synced, in both. Times of merges are those of a process
of its own; without start is without importing torch. Peak memory is that of the process (VmHWM).
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file

CHILD = """
import json, resource, sys, time
started = time.perf_counter()
from pathlib import Path
from fmcompress.merging.plan import plan_merge
from fmcompress.merging.recipe import read_recipe
from fmcompress.merging.run import merge_checkpoints
import fmcompress.ops
begun = time.perf_counter()
merge_checkpoints(plan_merge(read_recipe(Path(sys.argv[1]))), Path(sys.argv[2]))
done = time.perf_counter()
hwm = next(int(l.split()[1]) * 1024 for l in open("/proc/self/status") if l.startswith("VmHWM"))
print(json.dumps({"seconds": done - begun, "peak": hwm}))
"""


def make_checkpoint(folder: Path, layers: int, hidden: int, intermediate: int, seed: int) -> int:
    """A Llama of random bfloat16 weights, a shard for every two layers. Returns its bytes."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(seed)

    def matrix(rows: int, cols: int) -> torch.Tensor:
        return torch.randn(rows, cols, generator=generator).mul_(cols**-0.5).bfloat16()

    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "bfloat16", "vocab_size": 4096,
        "hidden_size": hidden, "intermediate_size": intermediate, "num_hidden_layers": layers, "hidden_act": "silu",
        "num_attention_heads": hidden // 64, "num_key_value_heads": hidden // 64, "rms_norm_eps": 1e-5,
        "max_position_embeddings": 2048, "tie_word_embeddings": False,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    count, weight_map, total = (layers + 1) // 2 + 1, {}, 0
    for number in range(count):
        tensors = {}
        if not number:
            tensors |= {"model.embed_tokens.weight": matrix(4096, hidden), "lm_head.weight": matrix(4096, hidden)}
            tensors["model.norm.weight"] = torch.ones(hidden).bfloat16()
        for layer in range(2 * number - 2, min(2 * number, layers)) if number else ():
            at = f"model.layers.{layer}."
            tensors |= {at + f"self_attn.{name}_proj.weight": matrix(hidden, hidden) for name in "qkvo"}
            tensors |= {at + f"mlp.{name}_proj.weight": matrix(intermediate, hidden) for name in ("gate", "up")}
            tensors[at + "mlp.down_proj.weight"] = matrix(hidden, intermediate)
            for name in ("input", "post_attention"):
                tensors[at + f"{name}_layernorm.weight"] = torch.ones(hidden).bfloat16()
        file = f"model-{number + 1:05d}-of-{count:05d}.safetensors"
        save_file(tensors, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(tensors, file)
        total += (folder / file).stat().st_size
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return total


def copy(folders: list[Path], to: Path) -> float:
    """Seconds to copy the tensor files of checkpoints, synced."""
    to.mkdir()
    begun = time.perf_counter()
    for folder in folders:
        for path in sorted(folder.glob("*.safetensors")):
            copied = to / f"{folder.name}-{path.name}"
            shutil.copyfile(path, copied)
            handle = os.open(copied, os.O_RDONLY)
            os.fsync(handle)
            os.close(handle)
    seconds = time.perf_counter() - begun
    shutil.rmtree(to)
    os.sync()
    return seconds


def merge(recipe: Path, out: Path) -> dict[str, float]:
    """Merge in a process of its own: seconds with and without its start, and its peak memory."""
    begun = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", CHILD, recipe, out], stdout=subprocess.PIPE, text=True, check=True)
    facts = {"process": time.perf_counter() - begun, **json.loads(done.stdout)}
    shutil.rmtree(out)
    os.sync()
    return facts


def mergekit(program: Path, recipe: Path, out: Path) -> dict[str, float]:
    """mergekit-yaml on the same recipe: seconds and peak memory of its process, as the kernel counts them."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        [program, recipe, out, "--no-copy-tokenizer"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    told = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begun
    if status:
        raise SystemExit(f"{program} failed: {told[-500:]}")
    os.sync()
    shutil.rmtree(out)
    return {"process": seconds, "peak": usage.ru_maxrss * 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=10)
    parser.add_argument("--hidden", type=int, default=2048)
    parser.add_argument("--intermediate", type=int, default=5632)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--mergekit", type=Path, help="mergekit-yaml of an environment that has it")
    parser.add_argument("--folder", type=Path, help="where to make the checkpoints (a temporary folder)")
    options = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        home = Path(folder)
        models = [home / f"model-{seed}" for seed in range(3)]
        size = [
            make_checkpoint(m, options.layers, options.hidden, options.intermediate, s) for s, m in enumerate(models)
        ][0]
        os.sync()
        console.print(
            f"three checkpoints of {size / 1e9:.2f} GB in {len(list(models[0].glob('*.safetensors')))} files each"
        )
        compare(console, home, models, size, options)


def recipe_file(path: Path, models: list[Path], **fields: object) -> Path:
    """A linear merge by unequal weights."""
    listed = [{"model": str(m), "parameters": {"weight": w}} for m, w in zip(models, (0.5, 0.3, 0.2), strict=True)]
    path.write_text(json.dumps({"models": listed, "merge_method": "linear", **fields}))  # JSON is YAML
    return path


def compare(console: Console, home: Path, models: list[Path], size: int, options: argparse.Namespace) -> None:
    """Copies and merges in turn, and the table."""
    table = Table("what", "GB read + written", "s", "GB/s", "of copy", "s with start", "peak MB")
    recipes = {
        "merge": recipe_file(home / "linear.yaml", models),
        "merge, float32 sums": recipe_file(home / "float32.yaml", models, dtype="float32", out_dtype="bfloat16"),
    }
    copies, singles, merges = [], [], {name: [] for name in recipes}
    for _ in range(options.runs):
        singles.append(copy(models[:1], home / "copy"))
        copies.append(copy(models, home / "copy"))
        for name, recipe in recipes.items():
            merges[name].append(merge(recipe, home / "out"))
    rate = 6 * size / statistics.median(copies)
    for name, count, seconds in (("copy of one", 2, singles), ("copy of all three", 6, copies)):
        s = statistics.median(seconds)
        table.add_row(
            name,
            f"{count * size / 1e9:.2f}",
            f"{s:.2f}",
            f"{count * size / s / 1e9:.2f}",
            f"{100 * count * size / s / rate:.0f} %",
        )
    for name, runs in merges.items():
        s, started = (statistics.median(run[key] for run in runs) for key in ("seconds", "process"))
        peak = max(run["peak"] for run in runs)
        table.add_row(
            name, f"{4 * size / 1e9:.2f}", f"{s:.2f}", f"{4 * size / s / 1e9:.2f}", f"{100 * 4 * size / s / rate:.0f} %",
            f"{started:.2f}", f"{peak / 1e6:.0f}",
        )  # fmt: skip
    if options.mergekit is None or not options.mergekit.exists():
        console.print(table)
        console.print("mergekit: skipped, no --mergekit PATH/TO/mergekit-yaml")
        return
    for dtype in ("bfloat16", "float32"):
        recipe = recipe_file(home / "mergekit.yaml", models, dtype=dtype, out_dtype="bfloat16")
        runs = [mergekit(options.mergekit, recipe, home / "out") for _ in range(options.runs)]
        s, peak = statistics.median(run["process"] for run in runs), max(run["peak"] for run in runs)
        table.add_row(f"mergekit, dtype {dtype}", f"{4 * size / 1e9:.2f}", "", "", "", f"{s:.2f}", f"{peak / 1e6:.0f}")
    console.print(table)


if __name__ == "__main__":
    main()
