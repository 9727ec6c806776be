"""The rate of CocktailSGD's theorem on a smooth problem with a known optimum: python bench/rate.py [--plot FILE].

f(x) = mean of a_j (x_j - c_j)^2 / 2 over 16384 coordinates, a_j from 0.1 to 1, minimum 0 at c. N workers draw noisy
gradients of it and run the whole algorithm: local step, compressed change to the server, compressed mean back, error
feedback on both sides. The step is in proportion to sqrt(N / T), as the theorem has it; then the mean over T steps of
the squared gradient norm at the shared model falls like 1 / sqrt(N T). The slope is fitted in the logarithms of both.
"""

import argparse
import json
import math

import torch

from fmcompress import ops
from fmcompress.gradients import CocktailConfig

NUMEL, NOISE, STEP = 1 << 14, 8.0, 2.0


def mean_square_gradient(workers: int, steps: int, config: CocktailConfig, seed: int) -> float:
    """Mean over the steps of |grad f|^2 at the shared model, times the number of coordinates."""
    generator = torch.Generator().manual_seed(seed)
    curvature = torch.linspace(0.1, 1, NUMEL)[torch.randperm(NUMEL, generator=generator)]
    optimum = torch.randn(NUMEL, generator=generator)
    shared = torch.zeros(NUMEL)
    local = [shared.clone() for _ in range(workers)]
    server = torch.zeros(NUMEL)
    rate = min(1.0, STEP * math.sqrt(workers / steps))
    total = 0.0
    for step in range(steps):
        layout = config.layout(NUMEL, step)
        payloads = []
        for own in local:
            noise = torch.randn(NUMEL, generator=generator) * NOISE
            own.sub_(rate * (curvature * (own - optimum) + noise))
            payloads.append(ops.compress_delta_(own, shared, layout))
        mean = ops.compress_mean_(torch.stack(payloads), server, NUMEL, layout)
        for to in (*local, shared):
            ops.add_payload_(mean, to, layout)
        total += float((curvature * (shared - optimum)).square().mean())
    return total / steps


def slope_of(points: list[tuple[float, float]]) -> float:
    """Of the least-squares line through the logarithms."""
    x, y = torch.tensor(points, dtype=torch.float64).log().unbind(1)
    x, y = x - x.mean(), y - y.mean()
    return float((x * y).sum() / x.square().sum())


def measure(all_steps: list[int], seeds: int) -> dict[str, list[tuple[float, float]]]:
    """For each kind and number of workers, (N T, mean square gradient)."""
    kinds = {
        "dense": CocktailConfig(1.0, 1.0, 32, 512),
        "cocktail": CocktailConfig(0.25, 0.5, 4, 512),
    }
    found: dict[str, list[tuple[float, float]]] = {}
    for kind in ("dense", "cocktail"):
        for workers in (1, 2, 4):
            points = []
            for steps in all_steps:
                values = [mean_square_gradient(workers, steps, kinds[kind], seed) for seed in range(seeds)]
                points.append((float(workers * steps), sum(values) / seeds))
            found[f"{kind}, N = {workers}"] = points
    return found


def plot(found: dict[str, list[tuple[float, float]]], slopes: dict[str, float], file: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 5))
    for name, points in found.items():
        axes.loglog(*zip(*points, strict=True), "o-" if "dense" not in name else "x:", label=name)
    ends = [
        min(p[0] for points in found.values() for p in points),
        max(p[0] for points in found.values() for p in points),
    ]
    top = max(p[1] for points in found.values() for p in points)
    axes.loglog(ends, [top, top * (ends[1] / ends[0]) ** -0.5], "k--", label="1 / sqrt(N T)")
    title = ", ".join(f"{kind}: slope {slope:.2f}" for kind, slope in slopes.items())
    axes.set(xlabel="N T", ylabel="mean squared gradient at the shared model", title=title)
    axes.legend()
    figure.tight_layout()
    figure.savefig(file, dpi=100)


def main() -> None:
    """Measure, fit and print as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", default="128,256,512,1024,2048,4096")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--plot")
    args = parser.parse_args()
    found = measure([int(steps) for steps in args.steps.split(",")], args.seeds)
    slopes = {
        kind: slope_of([point for name, points in found.items() if name.startswith(kind) for point in points])
        for kind in ("dense", "cocktail")
    }
    if args.plot:
        plot(found, slopes, args.plot)
    print(json.dumps({"slopes": slopes, "points": found}, indent=1))


if __name__ == "__main__":
    main()
