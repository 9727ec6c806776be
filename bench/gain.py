"""What compression costs and what it gains on one real checkpoint: perplexity, bytes, tokens a second. README's table.

python bench/gain.py [--checkpoint wikitext-llama] [--tokens 128 --runs 5]

The checkpoint is taken in bfloat16, as checkpoints are published. Needs the folder of real checkpoints and texts that
FMCOMPRESS_DATA names (see CONTRIBUTING.md). All models decode in turn in one process.
"""

import argparse
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from quality import CPU, LENGTH, Case, cases
from transformers import AutoModelForCausalLM, AutoTokenizer

from fmcompress import pipeline
from fmcompress.checkpoint import Checkpoint
from fmcompress.config import PruneConfig, QuantizeConfig, RunConfig
from fmcompress.evaluation import evaluate
from fmcompress.report import RunProgress
from fmcompress.runtime import load
from fmcompress.runtime.decode_speed import measure_decoding
from fmcompress.runtime.generation import dense_twin


def methods(case: Case) -> dict[str, RunConfig]:
    data = {"samples": case.samples, "sequence_length": LENGTH, "format": "packed"}
    return {
        "50 %": PruneConfig(sparsity=0.5, **data),
        "2:4": PruneConfig(pattern="2:4", **data),
        "4 bits": QuantizeConfig(bits=4, **data),
        "50 % + 4 bits": PruneConfig(sparsity=0.5, bits=4, **data),
    }


def in_bfloat16(case: Case, scratch: Path) -> Case:
    folder = scratch / f"{case.model.name}-bfloat16"
    AutoModelForCausalLM.from_pretrained(case.model, dtype=torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(case.model).save_pretrained(folder)
    return replace(case, model=folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="wikitext-llama")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    data = Path(os.environ.get("FMCOMPRESS_DATA", Path(__file__).parents[2] / "shared" / "data"))
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        case = in_bfloat16(next(c for c in cases(data, scratch) if c.model.name == args.checkpoint), scratch)
        folders = {"dense (bfloat16)": case.model}
        for number, (name, config) in enumerate(methods(case).items()):
            job, out = pipeline.prepare(case.model, config, case.calibration, CPU), scratch / f"out{number}"
            with RunProgress(job.plan.layers, quiet=True) as progress:
                pipeline.compress_checkpoint(job, out, progress)
            folders[name] = out
        models = {name: load(path) for name, path in folders.items()}
        models["dense (float32)"] = dense_twin(models["dense (bfloat16)"], torch.float32)
        ids = torch.arange(16)[None]
        speeds = {speed.name: speed for speed in measure_decoding(models, ids, args.tokens, args.runs)}
        base = speeds["dense (bfloat16)"].tokens_per_second
        print("| | perplexity | bytes | tokens/s | × bfloat16 |\n|---|---:|---:|---:|---:|")
        for name, path in folders.items():
            score = evaluate(path, case.text, LENGTH, CPU, max_windows=case.windows).perplexity
            size = sum(shard.stat().st_size for shard in Checkpoint(path).shards)
            rate = speeds[name].tokens_per_second
            print(f"| {name} | {score:.3f} | {size:,} | {rate:.0f} | {rate / base:.2f} |")
        rate = speeds["dense (float32)"].tokens_per_second
        print(f"\ndense in float32: {rate:.0f} tokens/s, {rate / base:.2f} × bfloat16")


if __name__ == "__main__":
    main()
