"""Plans of the paper's five networks, the time of an evaluation, growth, and simulated steps: python bench/schedule.py.

--only scenarios    the five networks of Yuan et al. 2022 (examples/schedule): random, contiguous, strided, found, bound
--only evaluation   seconds of one evaluation, incremental, native and in NumPy/SciPy, in one run
--only growth       16 to 1024 devices of a noisy world-wide network: seconds and cost [--plot FILE]
--only simulation   simulated steps of GPT3-XL: data centre to world, scheduled and random, with and without compression
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import torch

import fmcompress
from fmcompress import ops
from fmcompress.scheduling import Network, Plan, Workload, problem, schedule, simulate
from fmcompress.scheduling.baselines import baseline
from fmcompress.scheduling.files import read_network, read_workload

EXAMPLES = Path(__file__).resolve().parent.parent / "examples" / "schedule"
SCENARIOS = {
    "data centre": "data-centre.yaml",
    "spot instances": "spot.yaml",
    "two universities": "universities.yaml",
    "four regions": "regions.yaml",
    "world-wide": "world-wide.yaml",
}
RANDOM = 10  # plans of which the mean is told
COCKTAIL = 88.0  # times fewer bytes of gradients: bench/finetune.py on a real training
FLOPS_PER_S = 5e13  # assumed of a device: 40 % of the 125e12 that a V100 has on paper


def gpt3_xl() -> Workload:
    """The workload of the paper's scheduler."""
    return read_workload(EXAMPLES / "gpt3-xl.yaml")


def random_costs(network: Network, workload: Workload, model: str = "paper") -> list[float]:
    """What random plans cost, each with its groups in the best order."""
    return [baseline(network, workload, "random", model, seed).cost_s for seed in range(RANDOM)]


def scenarios(seed: int) -> list[dict[str, Any]]:
    """A row a network."""
    rows = []
    for name, file in SCENARIOS.items():
        network, workload = read_network(EXAMPLES / file), gpt3_xl()
        begin = time.perf_counter()
        plan = schedule(network, workload, seed=seed)
        seconds = time.perf_counter() - begin
        rows.append(
            {
                "network": name,
                "random_s": mean(random_costs(network, workload)),
                "contiguous_s": baseline(network, workload, "contiguous").cost_s,
                "strided_s": baseline(network, workload, "strided").cost_s,
                "found_s": plan.cost_s,
                "bound_s": plan.lower_bound_s,
                "gap": plan.gap,
                "stopped": plan.stopped,
                "seconds": seconds,
            }
        )
    return rows


def evaluation(seed: int, runs: int = 7) -> list[dict[str, Any]]:
    """Seconds of one evaluation at 64 devices, medians of runs in turn."""
    network, workload = noisy(64, seed), gpt3_xl()
    tables = problem(network, workload)
    rest = tables.links, tables.compute, tables.gradient_bytes, tables.micro_batches, tables.free_order
    groups = [torch.from_numpy(np.random.default_rng(seed + run).permutation(64) % 8) for run in range(runs)]
    times: dict[str, list[float]] = {"incremental": [], "native, from nothing": [], "NumPy and SciPy": []}
    for plan in groups:
        begin = time.perf_counter()
        _, _, count = ops.improve_plan(plan, *rest, seed=seed, evaluations=20_000)
        times["incremental"].append((time.perf_counter() - begin) / int(count))
        begin = time.perf_counter()
        for _ in range(100):
            ops.plan_cost(plan, *rest)
        times["native, from nothing"].append((time.perf_counter() - begin) / 100)
        with fmcompress.use("reference"):
            begin = time.perf_counter()
            ops.plan_cost(plan, *rest)
            times["NumPy and SciPy"].append(time.perf_counter() - begin)
    slow = median(times["NumPy and SciPy"])
    return [
        {"evaluation": name, "microseconds": 1e6 * median(found), "times_faster": slow / median(found)}
        for name, found in times.items()
    ]


def noisy(devices: int, seed: int, noise: float = 0.1) -> Network:
    """As many devices in each of the world-wide network's cities, and every link up to 10 % off: none are alike."""
    cities = read_network(EXAMPLES / "world-wide.yaml")
    each = devices // 8
    # device k of a city is linked as its first two are: to those of its own city as the two to each other
    first = [city * 8 for city in range(8)]
    at = np.repeat(first, each)
    other = np.where(at[:, None] == at[None, :], at[None, :] + 1, at[None, :])
    chance = np.random.default_rng(seed)
    factor = 1 + noise * (2 * chance.random((devices, devices)) - 1)
    return Network(
        cities.delay_s[at[:, None], other] * factor,
        cities.bandwidth_bits_per_s[at[:, None], other] / factor,
        regions=tuple(cities.regions[i] for i in at),
    )


def growth(seed: int, budget_s: float, sizes: list[int]) -> list[dict[str, Any]]:
    """A row a size: a pipeline of as many stages as a square allows, the whole model's bytes as in GPT3-XL."""
    rows = []
    for devices in sizes:
        stages = 2 ** ((devices.bit_length() - 1) // 2)
        whole = gpt3_xl()
        total = float(whole.per_stage("gradient_bytes").sum())
        workload = replace(whole, stages=stages, replicas=devices // stages, gradient_bytes=total / stages, layers=0)
        network = noisy(devices, seed)
        times: list[tuple[float, float]] = []
        begin = time.perf_counter()
        plan = schedule(
            network, workload, seed=seed, budget_s=budget_s,
            progress=lambda _, best, __, begin=begin, times=times: times.append((time.perf_counter() - begin, best)),
        )  # fmt: skip
        rows.append(
            {
                "devices": devices,
                "stages": stages,
                "random_s": mean(random_costs(network, workload)),
                "strided_s": baseline(network, workload, "strided").cost_s,
                "found_s": plan.cost_s,
                "bound_s": plan.lower_bound_s,
                "gap": plan.gap,
                "seconds": time.perf_counter() - begin,
                "within_1_percent_after_s": next((t for t, best in times if best <= 1.01 * plan.cost_s), None),
                "evaluations": plan.evaluations,
                "stopped": plan.stopped,
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    return rows


def simulation(seed: int) -> list[dict[str, Any]]:
    """A row a network and compression: simulated seconds of a step, scheduled by the extended model and at random."""
    rows = []
    for compression in (1.0, COCKTAIL):
        for name in ("data centre", "four regions", "world-wide"):
            network = replace(read_network(EXAMPLES / SCENARIOS[name]), flops_per_s=FLOPS_PER_S)
            workload = replace(
                gpt3_xl(), gradient_compression=compression, micro_batches=64, flops=6 * 1.3e9 / 8 * 64 * 2048
            )
            plan = schedule(network, workload, model="extended", seed=seed)
            drawn = [simulated(network, baseline(network, workload, "random", "extended", i)) for i in range(RANDOM)]
            rows.append(
                {
                    "network": name,
                    "gradient_compression": compression,
                    "scheduled_s": simulated(network, plan),
                    "analytic_s": plan.cost_s,
                    "random_s": mean(drawn),
                    "compute_s": float(workload.per_stage("flops")[0]) / FLOPS_PER_S * (64 + 7) / 64,
                    "gap": plan.gap,
                }
            )
    first = {row["gradient_compression"]: row["scheduled_s"] for row in rows if row["network"] == "data centre"}
    for row in rows:
        row["slower_than_data_centre"] = row["scheduled_s"] / first[row["gradient_compression"]]
        row["random_over_scheduled"] = row["random_s"] / row["scheduled_s"]
    return rows


def simulated(network: Network, plan: Plan) -> float:
    """Seconds of a step, event by event."""
    return simulate(network, plan).total_s


def markdown(rows: list[dict[str, Any]]) -> str:
    """A table of rows that are alike."""
    cells = [[f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()] for row in rows]
    lines = [list(rows[0]), ["---"] * len(rows[0]), *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def plot(rows: list[dict[str, Any]], file: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.2))
    devices = [row["devices"] for row in rows]
    left.loglog(devices, [row["seconds"] for row in rows], "o-", label="search ended")
    left.loglog(devices, [row["within_1_percent_after_s"] for row in rows], "s--", label="within 1 % of what it found")
    left.set(xlabel="devices", ylabel="seconds, two cores", title="How long planning takes")
    for key, mark in (("random_s", "x:"), ("strided_s", "s--"), ("found_s", "o-"), ("bound_s", "k-")):
        label = {"random_s": "random", "strided_s": "strided", "found_s": "found", "bound_s": "lower bound"}[key]
        right.semilogx(devices, [row[key] / row["bound_s"] for row in rows], mark, label=label)
    right.set(xlabel="devices", ylabel="cost over lower bound", title="How good the plans are")
    for axes in (left, right):
        axes.set_xticks(devices, [str(count) for count in devices])
        axes.minorticks_off()
        axes.legend()
        axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(file, dpi=110)


def main() -> None:
    """Measure and print: Markdown, and JSON with --json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["scenarios", "evaluation", "growth", "simulation"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--budget", type=float, default=60.0, help="seconds for each size of --only growth")
    parser.add_argument("--sizes", default="16,32,64,128,256,512,1024")
    parser.add_argument("--plot", help="file for the picture of growth")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    sizes = [int(size) for size in args.sizes.split(",")]
    parts = {
        "scenarios": lambda: scenarios(args.seed),
        "evaluation": lambda: evaluation(args.seed),
        "growth": lambda: growth(args.seed, args.budget, sizes),
        "simulation": lambda: simulation(args.seed),
    }
    found = {name: part() for name, part in parts.items() if args.only in (None, name)}
    if args.plot and "growth" in found:
        plot(found["growth"], args.plot)
    print(json.dumps(found, indent=1) if args.json else "\n\n".join(map(markdown, found.values())))


if __name__ == "__main__":
    main()
