"""Layers of equal sparsity against those that `fmcompress allocate` finds at one global sparsity.

Prints a Markdown table of perplexities. With --spreads, --generations and --level-methods, such as 0.02,0.08 and 25,100
and sparsegpt,admm, a column for each. Seconds after a + are those of allocating. Needs the folder of real checkpoints
and texts that FMCOMPRESS_DATA names (see CONTRIBUTING.md).
"""

import argparse
import os
import tempfile
import time
from functools import partial
from pathlib import Path

from quality import CPU, LENGTH, Case, cases, prune_and_score

from fmcompress.allocation.run import Search, find_allocation
from fmcompress.config import PruneConfig
from fmcompress.evaluation import evaluate
from fmcompress.pipeline import prepare
from fmcompress.shares import Allocation


def allocate(case: Case, sparsity: float, spread: float, search: Search | None, scratch: Path) -> Allocation:
    config = PruneConfig(sparsity=sparsity, samples=case.samples, sequence_length=LENGTH)
    ready = partial(prepare, case.model, calibration=case.calibration, device=CPU)
    return find_allocation(ready, config, scratch / "allocation.json", spread, search, quiet=True)[0]


def rows(case: Case, sparsity: float, columns: dict[str, tuple[float, Search | None]], methods: list[str]) -> list[str]:
    """A line for each method: its perplexity with equal sparsities, and with each of the allocations."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        dense = evaluate(case.model, case.text, LENGTH, CPU, max_windows=case.windows).perplexity
        allocations, seconds = list[Allocation](), list[float]()
        for spread, search in columns.values():
            begin = time.perf_counter()
            allocations.append(allocate(case, sparsity, spread, search, scratch))
            seconds.append(time.perf_counter() - begin)
        found = []
        for method in methods:
            even = prune_and_score(case, method, {"sparsity": sparsity}, scratch)
            cells = [f"{even['perplexity']:.3f}, {even['seconds']:.1f} s"]
            for allocation, took in zip(allocations, seconds, strict=True):
                target = {"sparsity": sparsity, "allocation": allocation.layers}
                score = prune_and_score(case, method, target, scratch)
                # equal sparsities are rounded layer by layer
                assert abs(score["zeros"] - even["zeros"]) < 1e-4
                closed = (even["perplexity"] - score["perplexity"]) / (even["perplexity"] - dense)
                cells.append(f"{score['perplexity']:.3f} ({100 * closed:.0f} %), + {took:.0f} s")
            found.append(f"| {case.model.name} | {100 * sparsity:g} % | {method} | {dense:.3f} | {' | '.join(cells)} |")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sparsities", default="0.7")
    parser.add_argument("--methods", default="sparsegpt,admm")
    parser.add_argument("--checkpoints", default="babyllama105,wikitext-llama")
    parser.add_argument("--spreads", default="0.08")
    parser.add_argument("--generations", default="50")
    parser.add_argument("--offspring", type=int, default=8)
    parser.add_argument("--level-methods", default="sparsegpt,admm")
    options = parser.parse_args()
    columns: dict[str, tuple[float, Search | None]] = {
        f"owl {spread}": (float(spread), None) for spread in options.spreads.split(",") if spread
    }
    for method in options.level_methods.split(","):
        for generations in filter(None, options.generations.split(",")):
            search = Search([], method, generations=int(generations), offspring=options.offspring)
            columns[f"search among {method}, {generations} generations"] = (0, search)
    data = Path(os.environ.get("FMCOMPRESS_DATA", Path(__file__).parents[2] / "shared" / "data"))
    print(f"| checkpoint | sparsity | method | dense | equal | {' | '.join(columns)} |")
    print(f"|---|---|---|---:|{'---:|' * (len(columns) + 1)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for case in (case for case in cases(data, Path(folder)) if case.model.name in options.checkpoints.split(",")):
            for sparsity in map(float, options.sparsities.split(",")):
                for row in rows(case, sparsity, columns, options.methods.split(",")):
                    print(row, flush=True)


if __name__ == "__main__":
    main()
