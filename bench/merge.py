"""Merging three sharded checkpoints beside copying them, in rate and memory, and mergekit on the same recipe if there.

python bench/merge.py [--layers 10 --hidden 2048 --intermediate 5632] [--runs 3] [--mergekit PATH/TO/mergekit-yaml]

Bytes are those of tensor files, read and written: a merge of n checkpoints reads n and writes one, a copy reads one and
writes one. All inputs are in the page cache. "synced" waits until what was written is on the disk, as the command does,
"cached" does not: then it is the work alone. Shares are of the faster copy. A merge is a process of its own; "s" is
without its start, which is mostly importing torch. Peak memory is VmHWM of the process, libraries included.
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
import json, os, sys, time
if sys.argv[3] == "cached":
    os.fsync = lambda handle: None
from pathlib import Path
from fmcompress.merging.plan import plan_merge
from fmcompress.merging.recipe import read_recipe
from fmcompress.merging.run import merge_checkpoints
import fmcompress.ops
begun, worked = time.perf_counter(), time.process_time()
merge_checkpoints(plan_merge(read_recipe(Path(sys.argv[1]))), Path(sys.argv[2]))
done, after = time.perf_counter(), time.process_time()
hwm = next(int(l.split()[1]) * 1024 for l in open("/proc/self/status") if l.startswith("VmHWM"))
print(json.dumps({"s": done - begun, "cpu": after - worked, "peak": hwm}))
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


def copy(folders: list[Path], to: Path, synced: bool) -> dict[str, float]:
    """Copy the tensor files of checkpoints: seconds and those of the processor."""
    to.mkdir()
    begun, worked = time.perf_counter(), time.process_time()
    for folder in folders:
        for path in sorted(folder.glob("*.safetensors")):
            copied = to / f"{folder.name}-{path.name}"
            shutil.copyfile(path, copied)
            if synced:
                with copied.open("rb") as file:
                    os.fsync(file)
    facts = {"s": time.perf_counter() - begun, "cpu": time.process_time() - worked}
    forget(to)
    return facts


def merge(recipe: Path, out: Path, synced: bool) -> dict[str, float]:
    """Merge in a process of its own: seconds with and without its start, those of the processor, and peak memory."""
    begun = time.perf_counter()
    command = [sys.executable, "-c", CHILD, recipe, out, "synced" if synced else "cached"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    facts = {"process": time.perf_counter() - begun, **json.loads(done.stdout)}
    forget(out)
    return facts


def forget(folder: Path) -> None:
    """Delete what was written, and wait for the disk, so that the next one finds it idle."""
    shutil.rmtree(folder)
    os.sync()


def mergekit(program: Path, recipe: Path, out: Path) -> dict[str, float]:
    """mergekit-yaml on the same recipe: seconds and peak memory of its process, as the kernel counts them.

    That peak is never less than what this process held when it started the other.
    """
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
    forget(out)
    return {"process": seconds, "cpu": usage.ru_utime + usage.ru_stime, "peak": usage.ru_maxrss * 1024}


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
        for seed, model in enumerate(models):
            size = make_checkpoint(model, options.layers, options.hidden, options.intermediate, seed)
        os.sync()
        files = len(list(models[0].glob("*.safetensors")))
        console.print(f"three checkpoints of {size / 1e9:.2f} GB in {files} files each")
        console.print(compare(home, models, size, options.runs))
        if options.mergekit is not None and options.mergekit.exists():
            console.print(beside_mergekit(home, models, options))
        else:
            console.print("mergekit: skipped, no --mergekit PATH/TO/mergekit-yaml")


def recipe_file(path: Path, models: list[Path], **fields: object) -> Path:
    """A linear merge by unequal weights."""
    listed = [{"model": str(m), "parameters": {"weight": w}} for m, w in zip(models, (0.5, 0.3, 0.2), strict=True)]
    path.write_text(json.dumps({"models": listed, "merge_method": "linear", **fields}))  # JSON is YAML
    return path


def compare(home: Path, models: list[Path], size: int, runs: int) -> Table:
    """Copies and merges in turn, and a row of each."""
    table = Table("what", "GB read + written", "s", "GB/s", "of copy", "CPU s", "s with start", "peak MB")
    recipes = {
        "merge": recipe_file(home / "linear.yaml", models),
        "merge, float32 sums": recipe_file(home / "float32.yaml", models, dtype="float32", out_dtype="bfloat16"),
    }
    for synced in (False, True):
        found: dict[str, list[dict[str, float]]] = {}
        for _ in range(runs):
            for name, folders in {"copy of one": models[:1], "copy of three": models}.items():
                found.setdefault(name, []).append(copy(folders, home / "copy", synced))
            for name, recipe in recipes.items():
                found.setdefault(name, []).append(merge(recipe, home / "out", synced))
        sizes = {"copy of one": 2 * size, "copy of three": 6 * size}
        rates = {name: sizes.get(name, 4 * size) / median(each, "s") for name, each in found.items()}
        fastest = max(rates[name] for name in sizes)
        for name, each in found.items():
            row = [f"{name}, {'synced' if synced else 'cached'}", f"{sizes.get(name, 4 * size) / 1e9:.2f}"]
            row += [f"{median(each, 's'):.2f}", f"{rates[name] / 1e9:.2f}", f"{100 * rates[name] / fastest:.0f} %"]
            row.append(f"{median(each, 'cpu'):.2f}")
            if name in recipes:
                row += [f"{median(each, 'process'):.2f}", f"{max(one['peak'] for one in each) / 1e6:.0f}"]
            table.add_row(*row)
    return table


def beside_mergekit(home: Path, models: list[Path], options: argparse.Namespace) -> Table:
    """A row of mergekit for each dtype of its sums. It does not sync what it writes."""
    table = Table("what", "CPU s", "s with start", "peak MB")
    for dtype in ("bfloat16", "float32"):
        recipe = recipe_file(home / "mergekit.yaml", models, dtype=dtype, out_dtype="bfloat16")
        found = [mergekit(options.mergekit, recipe, home / "out") for _ in range(options.runs)]
        peak = f"{max(one['peak'] for one in found) / 1e6:.0f}"
        cpu, process = (f"{median(found, key):.2f}" for key in ("cpu", "process"))
        table.add_row(f"mergekit, dtype {dtype}", cpu, process, peak)
    return table


def median(found: list[dict[str, float]], key: str) -> float:
    """Of several runs."""
    return statistics.median(one[key] for one in found)


if __name__ == "__main__":
    main()
