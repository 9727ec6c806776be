"""A simulated step as a Gantt chart."""

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..drawing import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    RED,
    SKY,
    heading,
    in_seconds,
    name_rows,
    new_figure,
    plain,
    save,
    short,
    unit_of,
)
from ..errors import ConfigError
from .iteration import BACKWARD, FORWARD, GATHER, REDUCE, SEND
from .plan import Plan
from .simulate import Simulation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KINDS = {
    FORWARD: (SKY, "forward"), BACKWARD: (BLUE, "backward"), SEND: (ORANGE, "activations, and gradients of them"),
    REDUCE: (RED, "shards of gradients"), GATHER: (GREEN, "their means"),
}  # fmt: skip
SHOWN_REPLICAS, SHOWN_ROWS, NAMED_ROWS = 4, 32, 64
MANY_BARS = 2000  # that white edges would hide


def plot_simulation(simulation: Simulation, plan: Plan, path: str | Path) -> None:
    """Draw a simulated step: above in each row what a device computes, below what it sends.

    simulation  of that plan
    path        .png, .svg or .pdf; written whole or not at all

    Pipelines are drawn one below the other, of many the first ones, which is then said. Raises ConfigError for another
    suffix, a plan of another size or without matplotlib, DiskError if path cannot be written.
    """
    if len(simulation.busy_s) != len(plan.names):
        raise ConfigError(f"simulation: of {len(simulation.busy_s)} devices, and the plan has {len(plan.names)}.")
    stages, replicas = plan.mesh.shape
    shown = max(1, min(replicas, SHOWN_REPLICAS, SHOWN_ROWS // stages))
    devices = plan.mesh[:, :shown].T.ravel().tolist()
    row_of = {device: row + row // stages * 0.6 for row, device in enumerate(devices)}
    bottom = max(row_of.values()) + 1
    tall = min(0.27, 11 / bottom) * bottom  # inches
    figure = new_figure(path, 13.2, tall + 1.5)
    axes = figure.add_axes((0.15, 0.6 / (tall + 1.5), 0.83, tall / (tall + 1.5)))
    for row in row_of.values():
        axes.axhspan(row + 0.02, row + 0.94, color="#F4F4F4", linewidth=0, zorder=0)
    unit, unit_name, _ = unit_of([simulation.total_s])
    _draw_bars(axes, simulation, row_of, unit)
    axes.axvline(simulation.pipeline_s / unit, color=INK, linestyle="--", linewidth=1, label="last backward ends")
    axes.set(xlim=(0, 1.005 * simulation.total_s / unit or 1), ylim=(bottom, 0), xlabel=unit_name)
    plain(axes)
    named = list(row_of.items())[:: -(-len(row_of) // NAMED_ROWS)]
    words = {row + 0.5: f"{short(plan.names[device], 16)}  stage {plan.stage_of[device]}" for device, row in named}
    name_rows(axes, words, 8.5)
    part = "the first pipeline" if shown == 1 else f"the first {shown} pipelines"
    part = f": {part} of {replicas}" if shown < replicas else ""
    heading(figure, f"A simulated step takes {in_seconds(simulation.total_s)}{part}")
    figure.legend(
        *axes.get_legend_handles_labels(), loc="upper left", bbox_to_anchor=(0.012, 1 - 0.45 / (tall + 1.5)), ncols=6,
        frameon=False, fontsize=9.5,
    )  # fmt: skip
    save(figure, path)


def _draw_bars(axes: "Axes", simulation: Simulation, row_of: dict[int, float], unit: float) -> None:
    """What each device in a row computes and, below that, sends."""
    from matplotlib.collections import PolyCollection

    bars: dict[str, list[Any]] = defaultdict(list)
    for begin, end, device, what, _, _ in simulation.events:
        if device in row_of and end > begin:
            top, deep = (0.06, 0.52) if what in (FORWARD, BACKWARD) else (0.6, 0.3)
            left, right, top = begin / unit, end / unit, row_of[device] + top
            bars[what].append([(left, top), (right, top), (right, top + deep), (left, top + deep)])
    edge = 0.3 if sum(map(len, bars.values())) < MANY_BARS else 0.0
    for what, (colour, label) in KINDS.items():
        if bars[what]:
            axes.add_collection(
                PolyCollection(
                    bars[what], facecolor=colour, edgecolor="white", linewidth=edge, label=label, gid=what, zorder=2
                )
            )
