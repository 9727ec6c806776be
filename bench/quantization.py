"""Perplexity and size of quantized checkpoints, with and without pruning: the table in the README.

Needs the folder of real checkpoints and texts that FMCOMPRESS_DATA names (see CONTRIBUTING.md).
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

from quality import CPU, LENGTH, Case, cases
from rich.console import Console
from rich.table import Table

from fmcompress import pipeline
from fmcompress.config import PruneConfig, QuantizeConfig, RunConfig
from fmcompress.evaluation import evaluate
from fmcompress.report import RunProgress


def methods(case: Case) -> dict[str, RunConfig]:
    """Name -> options; everything packed, so that bits a weight are those on disk."""
    data = {"samples": case.samples, "sequence_length": LENGTH, "format": "packed"}
    found: dict[str, RunConfig] = {}
    for bits in (4, 3):
        found[f"{bits}-bit round-to-nearest"] = QuantizeConfig(method="rtn", bits=bits, format="packed")
        found[f"{bits}-bit GPTQ"] = QuantizeConfig(bits=bits, **data)
        found[f"{bits}-bit GPTQ, asymmetric"] = QuantizeConfig(bits=bits, symmetric=False, **data)
        found[f"{bits}-bit GPTQ, activation order"] = QuantizeConfig(bits=bits, activation_order=True, **data)
        found[f"{bits}-bit GPTQ, clip search"] = QuantizeConfig(bits=bits, clip_search=True, **data)
        every = {"symmetric": False, "clip_search": True, "activation_order": True, "true_sequential": True}
        found[f"{bits}-bit GPTQ, all of these and true-sequential"] = QuantizeConfig(bits=bits, **every, **data)
    found["50 %"] = PruneConfig(sparsity=0.5, **data)
    found["50 % + 4-bit, joint"] = PruneConfig(sparsity=0.5, bits=4, **data)
    found["50 % + 4-bit, joint, true-sequential"] = PruneConfig(sparsity=0.5, bits=4, true_sequential=True, **data)
    found["2:4 + 4-bit, joint"] = PruneConfig(pattern="2:4", bits=4, **data)
    found["50 % + 4-bit, ADMM"] = PruneConfig(sparsity=0.5, bits=4, method="admm", **data)
    found["2:4 + 4-bit, ADMM"] = PruneConfig(pattern="2:4", bits=4, method="admm", **data)
    found["50 % + 4-bit, SparseGPT, refit"] = PruneConfig(sparsity=0.5, bits=4, refit=True, **data)
    found["50 % magnitude + 4-bit rounded"] = PruneConfig(sparsity=0.5, bits=4, method="magnitude", format="packed")
    return found


def compress_and_score(case: Case, config: RunConfig, scratch: Path) -> dict:
    """Run one method and evaluate what it wrote."""
    out = Path(tempfile.mkdtemp(dir=scratch)) / "out"
    job = pipeline.prepare(case.model, config, case.calibration if config.needs_data else None, CPU)
    with RunProgress(job.plan.layers, quiet=True) as progress:
        facts = pipeline.compress_checkpoint(job, out, progress)
    score = evaluate(out, case.text, LENGTH, CPU, max_windows=case.windows)
    return {"perplexity": score.perplexity, "zeros": facts["sparsity"], "bits": facts["bits_per_weight"]}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    parser.add_argument("--only", default="", help="only methods whose name holds one of these texts, between |")
    options = parser.parse_args()
    data = Path(os.environ.get("FMCOMPRESS_DATA", Path(__file__).parents[2] / "shared" / "data"))
    table, found = Table("checkpoint", "method", "perplexity", "to dense", "zeros", "bits a weight"), []
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        for case in cases(data, scratch):
            dense = evaluate(case.model, case.text, LENGTH, CPU, max_windows=case.windows).perplexity
            table.add_row(case.model.name, "dense", f"{dense:.3f}", "", "", "")
            for name, config in methods(case).items():
                if not any(text in name for text in options.only.split("|")):
                    continue
                score = compress_and_score(case, config, scratch)
                found.append({"checkpoint": case.model.name, "method": name, "dense": dense, **score})
                ratio = f"{100 * (score['perplexity'] / dense - 1):+.2f} %"
                figures = f"{score['perplexity']:.3f}", ratio, f"{100 * score['zeros']:.1f} %", f"{score['bits']:.2f}"
                table.add_row(case.model.name, name, *figures)
                print(json.dumps(found[-1]), flush=True)
    Console(width=120).print(table)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
