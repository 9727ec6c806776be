"""The diagnostics of a family of fine-tunings, and their pictures."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from domains import TASKS, Part
from kitchen import Weights, accuracy, outputs

from fmcompress.merging.connectivity import along_line, barrier
from fmcompress.ratatouille import average, compare, diversity, first_order, plot_barriers, plot_diversity, plot_lines

POINTS = (0.0, 0.25, 0.5, 0.75, 1.0)
COMPARED = 5  # first runs of a family, of which every two are compared: one a start, where starts are recycled
NAMES = {"pretrained": "from the pretrained", "recycled": "from recycled ones"}


def diagnose(models: Sequence[Weights], valid: Part, test: Part) -> dict[str, Any]:
    """Connectivity, diversity, and averaging against ensembling, on the domain left out and on validation."""
    parts = {"valid": valid, "test": test}
    found = torch.stack([outputs(one, test.images) for one in models])
    errs = found.argmax(-1) != test.labels
    compared = compare(outputs(average(models), test.images), found, test.labels)
    order = first_order(lambda weights: outputs(weights, test.images), models)
    pairs, lines = [], []
    for a, b in combinations(range(min(COMPARED, len(models))), 2):
        here = {name: along_line(_error(part), models[a], models[b], POINTS) for name, part in parts.items()}
        lines.append(here)
        pairs.append(
            {
                "pair": [a, b], "ratio_error": diversity(errs[[a, b]]).ratio_error,
                "barriers": {name: barrier(line, POINTS) for name, line in here.items()},
                "gain": (here["test"][0] + here["test"][-1]) / 2 - here["test"][POINTS.index(0.5)],
            }
        )  # fmt: skip
    means = {name: [statistics.mean(at) for at in zip(*(one[name] for one in lines), strict=True)] for name in parts}
    return {
        **asdict(compared), "diversity": asdict(diversity(errs)), "first_order": asdict(order), "pairs": pairs,
        "lines": means,
    }  # fmt: skip


def _error(part: Part) -> Callable[[Weights], float]:
    return lambda weights: 1 - accuracy(outputs(weights, part.images), part.labels)


def pairs_of(cells: Sequence[Mapping[str, Any]], family: str) -> list[dict[str, Any]]:
    return [pair for one in cells for pair in one["families"][family]["pairs"]]


def mean_line(cells: Sequence[Mapping[str, Any]], family: str, part: str) -> list[float]:
    """Mean over all cells and pairs of the error at each point."""
    return [statistics.mean(at) for at in zip(*(one["families"][family]["lines"][part] for one in cells), strict=True)]


def summary(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the docs tell of the diagnostics: means over all cells, and over all pairs in them."""
    told = {}
    for family in NAMES:
        some, pairs = [one["families"][family] for one in cells], pairs_of(cells, family)
        told[family] = {
            "average_minus_mean": statistics.mean(one["average"] - one["mean"] for one in some),
            "average_minus_ensemble": statistics.mean(one["average"] - one["ensemble"] for one in some),
            "gap": statistics.mean(one["gap"] for one in some),
            "order": statistics.mean(one["first_order"]["order"] for one in some),
            "distance": statistics.mean(one["first_order"]["distances"][0] for one in some),
            "ratio_error": statistics.mean(one["diversity"]["ratio_error"] for one in some),
            "pair_gain": statistics.mean(pair["gain"] for pair in pairs),
            **{
                f"barrier_{part}_{what}": of(pair["barriers"][part] for pair in pairs)
                for part in ("valid", "test")
                for what, of in (("mean", statistics.mean), ("max", max))
            },
        }
    both = [pair for family in NAMES for pair in pairs_of(cells, family)]
    told["correlation"] = {  # of ratio-error with the gain of averaging, over pairs of runs of one cell and family
        "pairs": len(both),
        "pearson": statistics.correlation([pair["ratio_error"] for pair in both], [pair["gain"] for pair in both]),
    }
    return told


def draw(cells: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Lines, barriers between starts, and diversity against gain, as three pictures."""
    lines = {
        f"{NAMES[family]}, {words}": [100 * value for value in mean_line(cells, family, part)]
        for part, words in (("test", "left-out domain"), ("valid", "validation"))
        for family in NAMES
    }
    title = "Between two fine-tunings, mean of all pairs"
    plot_lines(lines, POINTS, folder / "ratatouille-lines.png", value="error, %", title=title)
    size = 1 + max(pair["pair"][1] for pair in pairs_of(cells, "recycled"))
    matrix = [[0.0] * size for _ in range(size)]
    for a, b in combinations(range(size), 2):
        found = [100 * p["barriers"]["valid"] for p in pairs_of(cells, "recycled") if p["pair"] == [a, b]]
        matrix[a][b] = matrix[b][a] = statistics.mean(found)
    names = ["pretrained", *TASKS][:size]
    plot_barriers(matrix, names, folder / "ratatouille-barriers.png", title="Barriers on validation, points of error")
    dots = {
        NAMES[family]: [(pair["ratio_error"], 100 * pair["gain"]) for pair in pairs_of(cells, family)]
        for family in NAMES
    }
    plot_diversity(dots, folder / "ratatouille-diversity.png")
