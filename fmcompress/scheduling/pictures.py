"""Pictures of plans: devices on a map, costs by term; of a simulated step see gantt.py."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..drawing import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    RED,
    REST,
    SKY,
    YELLOW,
    finite,
    heading,
    in_seconds,
    name_rows,
    new_figure,
    plain,
    save,
    short,
    unit_of,
)  # fmt: skip
from ..errors import ConfigError
from .cost import IDLE
from .gantt import plot_simulation
from .maps import Map, map_of
from .network import Network
from .plan import Plan

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_compare", "plot_plan", "plot_simulation"]

STAGES = (BLUE, ORANGE, GREEN, PURPLE, SKY, RED, YELLOW, INK)
LAND, SEA, BLANK = "#E7E5DF", "#F7F9FB", "#FAFAFA"
TERMS = (
    ("exchange", "exchange_s", BLUE), ("hand-over", "hand_over_s", ORANGE), ("compute", "compute_s", GREEN),
    ("waiting", "waiting_s", PURPLE),
)  # fmt: skip
MODELS = {"paper": "paper's", "extended": "extended"}
NUMBERED = 0.15  # inches of a dot that has room for its stage
IN_LEGEND = 34  # stages that it has room for


def plot_plan(plan: Plan, network: Network, path: str | Path) -> None:
    """Draw devices by stage and place, pipelines between them, and what a step costs.

    network  of the plan
    path     .png, .svg or .pdf; written whole or not at all

    Raises ConfigError for another suffix, a network of another size or without matplotlib, DiskError if path cannot be
    written.
    """
    if len(network) != len(plan.names):
        raise ConfigError(f"network: the plan is for {len(plan.names)} devices, and it has {len(network)}.")
    figure = new_figure(path, 13.2, 6.4)
    heading(figure, f"{len(network)} devices: {plan.workload.stages} stages of {plan.workload.replicas} replicas")
    figure.text(0.02, 0.905, cost_words(plan), fontsize=10.5, color=INK)
    colours = stage_colours(plan.workload.stages)
    axes = figure.add_axes((0.02, 0.125, 0.68, 0.755))
    width, height = 0.68 * figure.get_figwidth(), 0.755 * figure.get_figheight()
    axes.set(xlim=(0, width), ylim=(0, height), xticks=[], yticks=[])
    drawn = map_of(plan, network, width, height)
    _draw_ground(axes, drawn)
    _draw_devices(axes, drawn, plan, colours)
    _draw_legend(figure, plan, colours)
    figure.text(0.02, 0.025, drawn.words, fontsize=8.5, color=FAINT)
    _draw_terms(figure.add_axes((0.785, 0.2, 0.195, 0.62)), plan)
    save(figure, path)


def plot_compare(plans: Mapping[str, Plan], path: str | Path) -> None:
    """Draw what a step costs by each plan, by term, and the highest lower bound that any of them has.

    path  .png, .svg or .pdf; written whole or not at all

    Raises ConfigError for another suffix, no plans or without matplotlib, DiskError if path cannot be written.
    """
    if not plans:
        raise ConfigError("plans: expected at least one to draw, got none.")
    tall = 0.5 * len(plans)
    figure = new_figure(path, 9.5, tall + 1.6)
    axes = figure.add_axes((0.17, 0.6 / (tall + 1.6), 0.8, tall / (tall + 1.6)))
    totals = [plan.cost_s for plan in plans.values()]
    unit, unit_name, _ = unit_of(totals)
    ends, best = np.zeros(len(plans)), min(totals)
    for label, term, colour in TERMS:
        lengths = np.array([finite(getattr(plan.cost, term)) for plan in plans.values()]) / unit
        if lengths.any():
            axes.barh(range(len(plans)), lengths, 0.62, ends, color=colour, label=label)
        ends += lengths
    bound = max(plan.lower_bound_s for plan in plans.values()) / unit
    longest = max(*ends, bound, 1e-9)
    for row, (end, total) in enumerate(zip(ends, totals, strict=True)):
        times = f"   {total / best:.2f} ×" if best and math.isfinite(total) else ""
        axes.text(end + 0.012 * longest, row, f"{in_seconds(total)}{times}", va="center", fontsize=9.5, color=INK)
    if bound:
        axes.axvline(bound, color="black", linestyle="--", linewidth=1.3, gid="bound",
                     label=f"lower bound {in_seconds(bound * unit)}")  # fmt: skip
    axes.set(xlim=(0, 1.22 * longest), ylim=(len(plans) - 0.5, -0.5), xlabel=unit_name)
    plain(axes)
    name_rows(axes, {row: short(name, 20) for row, name in enumerate(plans)}, 10)
    models = sorted({MODELS[plan.cost.model] for plan in plans.values()})
    heading(figure, f"What a step costs by the {' and the '.join(models)} model")
    figure.legend(*axes.get_legend_handles_labels(), loc="upper left", bbox_to_anchor=(0.012, 1 - 0.45 / (tall + 1.6)),
                  ncols=5, frameon=False, fontsize=9.5)  # fmt: skip
    save(figure, path)


def cost_words(plan: Plan) -> str:
    """What a step costs, and how good that is."""
    if not math.isfinite(plan.cost_s):
        return "This plan cannot run: a stage does not fit in its device's memory."
    if (plan.lower_bound_s or plan.stopped == "bound") and plan.gap < 1e-6:
        quality = "no plan is better"
    elif not plan.lower_bound_s:
        quality = "no bound says how good that is"
    else:
        quality = f"no plan saves more than {100 * plan.gap:.3g} % of it"
    return f"A step takes {in_seconds(plan.cost_s)} by the {MODELS[plan.cost.model]} model; {quality}."


def stage_colours(stages: int) -> list[Any]:
    """A colour for each stage: the most unlike ones for a few, for more of them a scale from dark to light."""
    import matplotlib

    if stages <= len(STAGES):
        return list(STAGES[:stages])
    return [matplotlib.colormaps["viridis"](share) for share in np.linspace(0, 1, stages)]


def _draw_ground(axes: "Axes", drawn: Map) -> None:
    """Coasts, and where places lie whose devices are drawn beside them."""
    from matplotlib.collections import PolyCollection

    axes.set_facecolor(SEA if drawn.land else BLANK)
    axes.spines[:].set_visible(False)
    axes.add_collection(PolyCollection(drawn.land, facecolor=LAND, edgecolor="white", linewidth=0.6, zorder=0))
    for place, centre in drawn.pins:
        axes.plot(*np.transpose([place, centre]), color=FAINT, linewidth=0.8, linestyle=":", zorder=1)
        axes.plot(*place, "o", color=FAINT, markersize=2.5, zorder=1)


def _draw_devices(axes: "Axes", drawn: Map, plan: Plan, colours: Sequence[Any]) -> None:
    """Dots with the numbers of their stages, names of places, and lines from stage to stage of each pipeline."""
    from matplotlib.collections import LineCollection

    dots, size = drawn.dots, drawn.diameter
    lines = [
        _curve(dots[a], dots[b]) for group, after in pairwise(plan.mesh) for a, b in zip(group, after, strict=True)
    ]
    opacity = min(0.55, max(0.15, 25 / max(1, len(lines))))
    axes.add_collection(LineCollection(lines, colors=INK, linewidths=0.8, alpha=opacity, zorder=2, gid="pipelines"))
    faces = [REST if stage == IDLE else colours[stage] for stage in plan.stage_of]
    axes.scatter(dots[:, 0], dots[:, 1], s=(72 * size) ** 2, c=faces, edgecolors="white",
                 linewidths=min(0.7, 4 * size), zorder=3, gid="devices")  # fmt: skip
    for (x, y), stage, face in zip(dots, plan.stage_of, faces, strict=True):
        if stage != IDLE and size >= NUMBERED:
            axes.text(x, y, str(stage), ha="center", va="center_baseline", fontsize=min(9.5, 38 * size),
                      color=_ink_on(face), zorder=4)  # fmt: skip
    for x, y, name in drawn.labels:
        axes.text(x, y, name, ha="center", va="top", fontsize=8.5, color=INK, zorder=5, parse_math=False)


def _draw_legend(figure: "Figure", plan: Plan, colours: Sequence[Any]) -> None:
    from matplotlib.lines import Line2D

    step = -(-len(colours) // IN_LEGEND)
    shown = [(str(stage), colours[stage]) for stage in range(0, len(colours), step)]
    shown += [(f"idle: {len(plan.idle)}", REST)] if plan.idle else []
    dots = [Line2D([], [], marker="o", linestyle="", color=colour, markersize=7) for _, colour in shown]
    figure.text(0.02, 0.0835, "stage", fontsize=9.5, color=INK)
    figure.legend(dots, [name for name, _ in shown], loc="upper left", bbox_to_anchor=(0.05, 0.118), ncols=18,
                  frameon=False, fontsize=9, handletextpad=0.0, columnspacing=0.6)  # fmt: skip


def _draw_terms(axes: "Axes", plan: Plan) -> None:
    """A waterfall: each term begins where the one above it ends, and the total is below."""
    unit, unit_name, _ = unit_of([plan.cost_s])
    values = [getattr(plan.cost, term) for _, term, _ in TERMS]
    ends = np.cumsum([finite(value) for value in values]) / unit
    begins, bound = np.array([0.0, *ends[:-1]]), plan.lower_bound_s / unit
    longest = max(float(ends[-1]), bound, 1e-9)
    axes.barh(range(4), ends - begins, 0.62, begins, color=[colour for _, _, colour in TERMS])
    axes.barh([4], ends[-1:], 0.62, color=INK)
    for row, (value, end) in enumerate(zip([*values, plan.cost_s], [*ends, ends[-1]], strict=True)):
        counted = plan.cost.model != "paper" or row not in (2, 3)
        words, colour = (in_seconds(value), INK) if counted else ("not counted", FAINT)
        axes.text(end + 0.03 * longest, row, words, va="center", fontsize=9.5, color=colour)
    if plan.lower_bound_s:
        axes.plot([bound, bound], [3.56, 4.44], color=RED, linewidth=2.5, solid_capstyle="butt", gid="bound")
        axes.text(max(bound, 0.36 * longest), 4.52, f"lower bound {in_seconds(plan.lower_bound_s)}", ha="center",
                  va="top", fontsize=9, color=RED)  # fmt: skip
    axes.set(xlim=(0, 1.5 * longest), ylim=(4.95, -0.5), xlabel=unit_name)
    axes.set_title("What a step costs", fontsize=11, loc="left", color=INK)
    plain(axes)
    name_rows(axes, dict(enumerate([*(name for name, _, _ in TERMS), "total"])), 9.5)


def _curve(a: Any, b: Any) -> Any:
    """[points, 2] of a line that bends a little, so that there and back do not lie on each other."""
    middle = (a + b) / 2 + 0.12 * np.array([a[1] - b[1], b[0] - a[0]])
    at = np.linspace(0, 1, 13)[:, None]
    return (1 - at) ** 2 * a + 2 * at * (1 - at) * middle + at**2 * b


def _ink_on(face: Any) -> str:
    """Black or white, whichever can be read on a colour."""
    from matplotlib.colors import to_rgb

    return "white" if np.dot(to_rgb(face), (0.299, 0.587, 0.114)) < 0.6 else "black"
