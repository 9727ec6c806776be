"""Pictures of plans: devices on a map, costs by term, a step as a Gantt chart."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checkpoint import write_error
from ..errors import ConfigError
from .cost import IDLE, Cost
from .iteration import BACKWARD, FORWARD, GATHER, REDUCE, SEND
from .maps import map_of
from .network import Network
from .plan import Plan
from .simulate import Simulation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind people can tell apart
ORANGE, SKY, GREEN, YELLOW, BLUE, RED, PURPLE = (
    "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
STAGES = (BLUE, ORANGE, GREEN, PURPLE, SKY, RED, YELLOW, "#333333")
REST, INK, LAND, SEA, FAINT = "#C8C8C8", "#333333", "#E7E5DF", "#F7F9FB", "#8A8A8A"
TERMS = (
    ("exchange", "exchange_s", BLUE), ("hand-over", "hand_over_s", ORANGE), ("compute", "compute_s", GREEN),
    ("waiting", "waiting_s", PURPLE),
)  # fmt: skip
KINDS = {
    FORWARD: (SKY, "forward"), BACKWARD: (BLUE, "backward"), SEND: (ORANGE, "activations, and gradients of them"),
    REDUCE: (RED, "shards of gradients"), GATHER: (GREEN, "their means"),
}  # fmt: skip
MODELS = {"paper": "paper's", "extended": "extended"}
SUFFIXES = ("png", "svg", "pdf")
NUMBERED = 0.15  # inches of a dot that has room for its stage
SHOWN_REPLICAS, SHOWN_ROWS, SHOWN_STAGES = 4, 32, 32


def plot_plan(plan: Plan, network: Network, path: str | Path) -> None:
    """Draw devices by stage and place, pipelines between them, and what a step costs.

    network  of the plan
    path     .png, .svg or .pdf; written whole or not at all

    Raises ConfigError for another suffix, a network of another size or without matplotlib, DiskError if path cannot be
    written.
    """
    if len(network) != len(plan.names):
        raise ConfigError(f"network: the plan is for {len(plan.names)} devices, and it has {len(network)}.")
    figure = _figure(path, 13.2, 6.4)
    words = f"{len(network)} devices: {plan.workload.stages} stages of {plan.workload.replicas} replicas"
    figure.text(0.02, 0.945, words, fontsize=14, weight="bold", color=INK)
    figure.text(0.02, 0.905, cost_words(plan), fontsize=10.5, color=INK)
    _draw_map(figure, plan, network)
    _draw_terms(figure.add_axes((0.79, 0.2, 0.19, 0.62)), plan)
    _save(figure, path)


def plot_compare(plans: Mapping[str, Plan], path: str | Path) -> None:
    """Draw what a step costs by each plan, by term, and the highest lower bound that any of them has.

    path  .png, .svg or .pdf; written whole or not at all

    Raises ConfigError for another suffix, no plans or without matplotlib, DiskError if path cannot be written.
    """
    if not plans:
        raise ConfigError("plans: expected at least one to draw, got none.")
    figure = _figure(path, 9.5, 1.9 + 0.5 * len(plans))
    axes = figure.add_axes((0.17, 0.75 / figure.get_figheight(), 0.76, 1 - 1.7 / figure.get_figheight()))
    totals = [plan.cost_s for plan in plans.values()]
    bound, rows = max(plan.lower_bound_s for plan in plans.values()), np.arange(len(plans))
    unit, name = _unit(totals)
    begin = np.zeros(len(plans))
    for label, term, colour in TERMS:
        lengths = np.array([_finite(getattr(plan.cost, term)) for plan in plans.values()]) / unit
        if lengths.any():
            axes.barh(rows, lengths, 0.62, begin, color=colour, label=label)
        begin += lengths
    longest = max(*begin, bound / unit, 1e-9)
    best = min(totals)
    for row, (end, total) in enumerate(zip(begin, totals, strict=True)):
        more = f"   {total / best:.2f} x" if best and math.isfinite(total) else ""
        axes.text(end + 0.012 * longest, row, f"{_seconds(total)}{more}", va="center", fontsize=9.5, color=INK)
    if bound:
        axes.axvline(bound / unit, color="black", linestyle="--", linewidth=1.3, label=f"bound {_seconds(bound)}")
    axes.set(yticks=rows, xlim=(0, 1.24 * longest), ylim=(len(plans) - 0.5, -0.5), xlabel=f"a step, {name}")
    for text, plan in zip(axes.set_yticklabels(list(plans)), plans, strict=True):
        text.set(parse_math=False, text=plan[:24])
    _plain(axes)
    models = {MODELS[plan.cost.model] for plan in plans.values()}
    figure.text(0.02, 1 - 0.36 / figure.get_figheight(), f"What a step costs by the {' and the '.join(sorted(models))} "
                "model", fontsize=13, weight="bold", color=INK)  # fmt: skip
    figure.legend(*axes.get_legend_handles_labels(), loc="upper left", ncols=6, frameon=False, fontsize=9,
                  bbox_to_anchor=(0.16, 1 - 0.42 / figure.get_figheight()))  # fmt: skip
    _save(figure, path)


def cost_words(plan: Plan) -> str:
    """What a step costs, and how good that is."""
    if not math.isfinite(plan.cost_s):
        return "This plan cannot run: a stage does not fit its device's memory."
    if not plan.lower_bound_s:
        quality = "no bound says how good that is"
    elif plan.gap < 1e-6:
        quality = "no plan is better"
    else:
        quality = f"no plan saves more than {100 * plan.gap:.3g} % of it"
    return f"A step takes {_seconds(plan.cost_s)} by the {MODELS[plan.cost.model]} model; {quality}."


def stage_colours(stages: int) -> list[Any]:
    """A colour for each stage: the most unlike ones for a few, for more of them a scale from dark to light."""
    import matplotlib

    if stages <= len(STAGES):
        return list(STAGES[:stages])
    return [matplotlib.colormaps["viridis"](share) for share in np.linspace(0, 1, stages)]


def _draw_map(figure: "Figure", plan: Plan, network: Network) -> None:
    from matplotlib.collections import LineCollection, PolyCollection

    box = (0.02, 0.125, 0.68, 0.755)
    width, height = box[2] * figure.get_figwidth(), box[3] * figure.get_figheight()
    drawn = map_of(plan, network, width, height)
    axes = figure.add_axes(box)
    axes.set(xlim=(0, width), ylim=(0, height), xticks=[], yticks=[], facecolor=SEA if drawn.land else "#FAFAFA")
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.add_collection(PolyCollection(drawn.land, facecolor=LAND, edgecolor="white", linewidth=0.6, zorder=0))
    for place, centre in drawn.pins:
        axes.plot(*np.transpose([place, centre]), color=FAINT, linewidth=0.8, linestyle=":", zorder=1)
        axes.plot(*place, "o", color=FAINT, markersize=2.5, zorder=1)
    links = [
        _curve(drawn.dots[a], drawn.dots[b])
        for upper, lower in pairwise(plan.mesh)
        for a, b in zip(upper, lower, strict=True)
    ]
    opacity = min(0.55, max(0.12, 25 / max(1, len(links))))
    axes.add_collection(LineCollection(links, colors=INK, linewidths=0.8, alpha=opacity, zorder=2, gid="pipelines"))
    colours = stage_colours(plan.workload.stages)
    faces = [REST if stage == IDLE else colours[stage] for stage in plan.stage_of]
    axes.scatter(*drawn.dots.T, s=(72 * drawn.diameter) ** 2, c=faces, edgecolors="white", linewidths=min(0.7, 4 * drawn.diameter),
                 zorder=3, gid="devices")  # fmt: skip
    if drawn.diameter >= NUMBERED:
        for (x, y), stage, face in zip(drawn.dots, plan.stage_of, faces, strict=True):
            if stage != IDLE:
                axes.text(
                    x,
                    y,
                    str(stage),
                    ha="center",
                    va="center_baseline",
                    fontsize=min(9.5, 38 * drawn.diameter),
                    color=_on(face),
                    zorder=4,
                )
    for x, y, label in drawn.labels:
        axes.text(x, y, label, ha="center", va="top", fontsize=8.5, color=INK, zorder=5, parse_math=False)
    figure.text(0.02, 0.025, drawn.words, fontsize=8.5, color=FAINT)
    _stage_legend(figure, plan, colours)


def _stage_legend(figure: "Figure", plan: Plan, colours: Sequence[Any]) -> None:
    from matplotlib.lines import Line2D

    step = -(-len(colours) // SHOWN_STAGES)
    shown = [(f"{stage}", colours[stage]) for stage in range(0, len(colours), step)]
    shown += [(f"idle ({len(plan.idle)})", REST)] if plan.idle else []
    dots = [Line2D([], [], marker="o", linestyle="", color=colour, markersize=7) for _, colour in shown]
    figure.text(0.02, 0.083, "stage", fontsize=9.5, color=INK)
    figure.legend(
        dots,
        [label for label, _ in shown],
        loc="upper left",
        bbox_to_anchor=(0.05, 0.118),
        ncols=18,
        frameon=False,
        fontsize=9,
        handletextpad=0.0,
        columnspacing=0.6,
    )


def _draw_terms(axes: "Axes", plan: Plan) -> None:
    """Each term begins where the one above it ends."""
    unit, name = _unit([plan.cost_s])
    values = [getattr(plan.cost, term) for _, term, _ in TERMS]
    lengths = np.array([_finite(value) for value in values]) / unit
    begins = np.concatenate([[0.0], np.cumsum(lengths)])
    total = max(float(begins[-1]), plan.lower_bound_s / unit, 1e-9)
    axes.barh(range(4), lengths, 0.62, begins[:-1], color=[colour for _, _, colour in TERMS])
    axes.barh([4], begins[-1:], 0.62, color=INK)
    for row, (value, end) in enumerate(zip([*values, plan.cost_s], [*begins[1:], begins[-1]], strict=True)):
        words = _seconds(value) if value or not _uncounted(plan.cost, row) else "not counted"
        axes.text(end + 0.03 * total, row, words, va="center", fontsize=9.5, color=INK if value else FAINT)
    if plan.lower_bound_s:
        bound = plan.lower_bound_s / unit
        axes.plot([bound, bound], [3.56, 4.44], color=RED, linewidth=2.5, solid_capstyle="butt", gid="bound")
        axes.text(
            min(bound, total),
            4.52,
            f"lower bound {_seconds(plan.lower_bound_s)}",
            ha="right" if bound > 0.5 * total else "left",
            va="top",
            fontsize=9,
            color=RED,
        )
    axes.set(
        xlim=(0, 1.42 * total),
        ylim=(4.95, -0.5),
        yticks=range(5),
        yticklabels=[*(label for label, _, _ in TERMS), "total"],
        xlabel=name,
    )
    axes.set_title("What a step costs", fontsize=11, loc="left", color=INK)
    _plain(axes)


def _uncounted(cost: Cost, row: int) -> bool:
    """Whether the paper's model leaves that term out."""
    return cost.model == "paper" and row in (2, 3)


def plot_simulation(simulation: Simulation, plan: Plan, path: str | Path) -> None:
    """Draw a simulated step: above in each row what a device computes, below what it sends.

    simulation  of that plan
    path        .png, .svg or .pdf; written whole or not at all

    Pipelines are drawn one below the other, of many the first ones, which is then said. Raises ConfigError for another
    suffix, a plan of another size or without matplotlib, DiskError if path cannot be written.
    """
    from matplotlib.collections import PolyCollection

    if len(simulation.busy_s) != len(plan.names):
        raise ConfigError(f"simulation: of {len(simulation.busy_s)} devices, and the plan has {len(plan.names)}.")
    stages, replicas = plan.mesh.shape
    shown = max(1, min(replicas, SHOWN_REPLICAS, SHOWN_ROWS // stages))
    devices = plan.mesh[:, :shown].T.ravel().tolist()
    row_of = {device: row + row // stages * 0.6 for row, device in enumerate(devices)}
    bottom = max(row_of.values()) + 1
    tall = min(0.26, 11 / bottom) * bottom
    figure = _figure(path, 13.2, tall + 1.75)
    axes = figure.add_axes((0.135, 0.62 / (tall + 1.75), 0.84, tall / (tall + 1.75)))
    unit, name = _unit([simulation.total_s])
    bars: dict[str, list[Any]] = defaultdict(list)
    for begin, end, device, what, _, _ in simulation.events:
        if device in row_of:
            top, deep = (row_of[device] + 0.06, 0.52) if what in (FORWARD, BACKWARD) else (row_of[device] + 0.6, 0.3)
            bars[what].append(
                [(begin / unit, top), (end / unit, top), (end / unit, top + deep), (begin / unit, top + deep)]
            )
    for what, (colour, label) in KINDS.items():
        if bars[what]:
            axes.add_collection(
                PolyCollection(bars[what], facecolor=colour, edgecolor="white", linewidth=0.15, label=label, gid=what)
            )
    for row in row_of.values():
        axes.axhspan(row + 0.02, row + 0.94, color="#F4F4F4", zorder=0)
    axes.axvline(simulation.pipeline_s / unit, color=INK, linestyle="--", linewidth=1, label="last backward ends")
    ticks = list(row_of.items())[:: -(-len(row_of) // 64)]
    axes.set(
        xlim=(0, 1.005 * simulation.total_s / unit),
        ylim=(bottom, 0),
        xlabel=name,
        yticks=[row + 0.5 for _, row in ticks],
    )
    for text, (device, _) in zip(axes.set_yticklabels([""] * len(ticks)), ticks, strict=True):
        text.set(parse_math=False, fontsize=8.5, text=f"{plan.names[device][:14]}  stage {plan.stage_of[device]}")
    part = f"pipelines 0 to {shown - 1} of {replicas}" if shown < replicas else f"{replicas} pipelines"
    figure.text(
        0.02,
        1 - 0.36 / (tall + 1.75),
        f"A simulated step takes {_seconds(simulation.total_s)}: {part}",
        fontsize=13,
        weight="bold",
        color=INK,
    )
    figure.legend(
        *axes.get_legend_handles_labels(),
        loc="upper left",
        bbox_to_anchor=(0.125, 1 - 0.45 / (tall + 1.75)),
        ncols=6,
        frameon=False,
        fontsize=9,
    )
    _plain(axes)
    _save(figure, path)


def _figure(path: str | Path, width: float, height: float) -> "Figure":
    """An empty figure of so many inches that no state of pyplot knows of. Raises ConfigError."""
    if Path(path).suffix.lower().lstrip(".") not in SUFFIXES:
        raise ConfigError(f"{path}: expected a name that ends in .png, .svg or .pdf.")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigError("a picture needs matplotlib: pip install 'fmcompress[schedule]'.") from None
    return Figure(figsize=(width, height), facecolor="white")


def _save(figure: "Figure", path: str | Path) -> None:
    """Write a file, whole or not at all, the same bytes for the same figure."""
    path = Path(path)
    kind, growing = path.suffix.lower().lstrip("."), path.with_name(f"{path.name}.partial")
    dated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    try:
        figure.savefig(growing, format=kind, dpi=150, metadata=dated)
        growing.replace(path)
    except OSError as error:
        growing.unlink(missing_ok=True)
        raise write_error(path, error) from None


def _curve(a: Any, b: Any) -> Any:
    """[points, 2] of a line that bends a little, so that those of a pair of places lie side by side."""
    middle = (a + b) / 2 + 0.12 * np.array([a[1] - b[1], b[0] - a[0]])
    at = np.linspace(0, 1, 13)[:, None]
    return (1 - at) ** 2 * a + 2 * at * (1 - at) * middle + at**2 * b


def _on(face: Any) -> str:
    """Black or white, whichever can be read on a colour."""
    from matplotlib.colors import to_rgb

    return "white" if np.dot(to_rgb(face), (0.299, 0.587, 0.114)) < 0.6 else "black"


def _plain(axes: "Axes") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="#E4E4E4", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=9.5, colors=INK)


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def _unit(values: Sequence[float]) -> tuple[float, str]:
    """Seconds of a unit in which the largest of some is a handy number, and its name."""
    largest = max(map(_finite, values))
    return (
        (1.0, "seconds")
        if largest >= 1 or not largest
        else (1e-3, "milliseconds")
        if largest >= 1e-3
        else (1e-6, "microseconds")
    )


def _seconds(value: float) -> str:
    if not math.isfinite(value):
        return "no end"
    unit, name = _unit([value])
    return (
        f"{value / unit:.3g} {({'seconds': 's', 'milliseconds': 'ms', 'microseconds': 'µs'})[name]}"
        if value < 1000
        else f"{value:.0f} s"
    )
