"""Model Ratatouille beside its ablations on digits, each domain left out in turn: accuracy there, and why.

    python examples/ratatouille/leave_one_out.py --seeds 5 --out results.json --plots docs/plots

A cell is a seed and the domain that was left out; cells that are in --out already are kept. Every method has as many
fine-tunings as any other, and chooses by 20 % of the training domains. Settings were chosen on seeds from 100 on.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch

import torch
from domains import VALIDATION, Material, Part, material, read_mnist, read_scans
from kitchen import HEAD, TASKS, Cook, Settings, Weights, accuracy, outputs, pretrained
from tasting import diagnose, draw, summary

from fmcompress.files import write_json
from fmcompress.ratatouille import METHODS, Ratatouille
from fmcompress.report import finite, print_json

RUNS, SEEDS = 10, 5
RIVALS = ("erm", "inter-training", "fusing", "soup", "diwa")
# row of the table -> what it is called
ROWS = {
    "probe": "linear probe, no fine-tuning", "erm": "ERM (best run)", "inter-training": "inter-training (best run)",
    "fusing": "fusing (best run)", "soup": "model soup (greedy)", "diwa": "DiWA (uniform)",
    "ratatouille-greedy": "Ratatouille (greedy)", "ratatouille": "Ratatouille (uniform)",
    "single-pretrained": "mean of DiWA's runs", "ensemble-pretrained": "ensemble of DiWA's runs",
    "single-recycled": "mean of Ratatouille's runs", "ensemble-recycled": "ensemble of Ratatouille's runs",
}  # fmt: skip


def split(found: Material, held_out: str) -> tuple[Part, Part, Part]:
    """Training and validation of all domains but one, and that one."""
    others = [part for name, part in found.domains.items() if name != held_out]

    def joined(first: float, last: float) -> Part:
        parts = [part.rows(slice(int(first * len(part.labels)), int(last * len(part.labels)))) for part in others]
        return Part(torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts]))

    return joined(0, 1 - VALIDATION), joined(1 - VALIDATION, 1), found.domains[held_out]


def cell(
    found: Material, start: Weights, seed: int, held_out: str, settings: Settings, runs: int,
    auxiliary: dict[str, Weights],
) -> dict[str, Any]:  # fmt: skip
    """All methods with a domain left out. It is looked at when all models are chosen."""
    train, valid, test = split(found, held_out)
    cook = Cook(found, train, valid, settings, auxiliary)
    recipe = Ratatouille(
        start, HEAD, list(TASKS), cook.train, cook.validate, runs=runs, seed=seed
    )  # fmt: skip
    dishes = recipe.cook(*METHODS)
    found_here = {name: accuracy(outputs(dish.weights, test.images), test.labels) for name, dish in dishes.items()}
    found_here["probe"] = accuracy(outputs(recipe.probe().weights, test.images), test.labels)
    families = {}
    for family in ("pretrained", "recycled"):
        families[family] = told = diagnose([run.weights for run in recipe.family(family)], valid, test)
        found_here[f"single-{family}"] = told["mean"]
        found_here[f"ensemble-{family}"] = told["ensemble"]
    return {
        "seed": seed, "held_out": held_out, "accuracy": found_here,
        "validation": {name: dish.validation for name, dish in dishes.items()},
        "chosen": {name: len(dish.chosen) for name, dish in dishes.items()}, "families": families,
    }  # fmt: skip


def table(cells: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """A row a method: mean and standard deviation over seeds, for each domain and for the mean over domains."""
    domains = list(dict.fromkeys(one["held_out"] for one in cells))
    for name in ROWS:
        by_seed: dict[int, dict[str, float]] = {}
        for one in cells:
            by_seed.setdefault(one["seed"], {})[one["held_out"]] = one["accuracy"][name]
        columns = {domain: [some[domain] for some in by_seed.values() if domain in some] for domain in domains}
        columns["average"] = [statistics.mean(some.values()) for some in by_seed.values() if len(some) == len(domains)]
        columns = {column: values for column, values in columns.items() if values}
        yield {
            "method": name,
            "mean": {column: statistics.mean(values) for column, values in columns.items()},
            "sd": {column: statistics.stdev(values) if len(values) > 1 else 0.0 for column, values in columns.items()},
            "seeds": len(by_seed),
        }


def gain(cells: Sequence[Mapping[str, Any]], method: str, over: str) -> dict[str, Any]:
    """Mean over domains of a method's lead over another, seed by seed."""
    seeds = sorted({one["seed"] for one in cells})
    leads = [
        statistics.mean(one["accuracy"][method] - one["accuracy"][over] for one in cells if one["seed"] == seed)
        for seed in seeds
    ]
    return {
        "method": method, "over": over, "mean": statistics.mean(leads),
        "sd": statistics.stdev(leads) if len(leads) > 1 else 0.0, "each": leads,
    }  # fmt: skip


def run(
    mnist: Path | None, out: Path, seeds: Sequence[int], settings: Settings, runs: int, rows: int = 1000
) -> dict[str, Any]:
    """Do the cells that are missing in OUT. Returns what stands there."""
    results: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {"cells": []}
    facts = json.loads(json.dumps({"settings": asdict(settings), "runs": runs, "rows": rows}))
    if results["cells"] and any(results[key] != value for key, value in facts.items()):
        raise SystemExit(f"{out}: has cells of other settings. Give another --out.")
    results.update(facts)
    done = {(one["seed"], one["held_out"]) for one in results["cells"]}
    digits, scans = read_mnist(mnist), read_scans()
    for seed in seeds:
        found, start, auxiliary = material(digits, scans, seed, rows), None, dict[str, Weights]()
        for held_out in found.domains:
            if (seed, held_out) in done:
                continue
            begin = time.process_time()
            start = start or pretrained(found.pretraining, settings, seed)
            record = cell(found, start, seed, held_out, settings, runs, auxiliary)
            results["cells"].append({**record, "processor_s": round(time.process_time() - begin, 1)})
            results["table"] = list(table(results["cells"]))
            results["gains"] = [gain(results["cells"], "ratatouille", over) for over in RIVALS]
            results["summary"] = summary(results["cells"])
            results["processor_s"] = round(sum(one["processor_s"] for one in results["cells"]), 1)
            write_json(out, finite(results))
            told = " ".join(f"{name} {100 * value:.1f}" for name, value in record["accuracy"].items())
            print(f"seed {seed} without {held_out}: {told}", file=sys.stderr, flush=True)
    return results


def main() -> None:
    """Run, print the table, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/mnist-test"), help="MNIST's test files")
    parser.add_argument("--out", type=Path, default=Path("results.json"))
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many, from --first-seed on")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--runs", type=int, default=RUNS, help="fine-tunings of each method")
    parser.add_argument("--plots", type=Path, help="folder of pictures")
    parser.add_argument("--json", action="store_true", help="print what stands in --out")
    given = parser.parse_args()
    if given.seeds < 1 or given.runs < 3:
        parser.error("expected at least 1 of --seeds and 3 of --runs")
    if not (given.data / "t10k-images-idx3-ubyte.gz").is_file():
        parser.error(f"--data: {given.data} has no t10k-images-idx3-ubyte.gz")
    for folder in filter(None, (given.out.parent, given.plots)):  # before any work
        folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    results = run(given.data, given.out, seeds, Settings(), given.runs)
    if given.plots:
        draw(results["cells"], given.plots)
    if given.json:
        print_json(results)
        return
    columns = list(results["table"][0]["mean"])
    print(f"{'accuracy on the domain left out, %':34}", *(f"{column:>12}" for column in columns))
    for row in results["table"]:
        shown = (f"{100 * row['mean'][column]:.1f} ± {100 * row['sd'][column]:.1f}" for column in columns)
        print(f"{ROWS[row['method']]:34}", *(f"{one:>12}" for one in shown))


if __name__ == "__main__":
    main()
