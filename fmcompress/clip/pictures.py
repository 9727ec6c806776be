"""Pictures of what methods do to the groups' accuracies."""

import math
from collections.abc import Mapping
from pathlib import Path

from ..drawing import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    heading,
    name_rows,
    new_figure,
    plain,
    save,
    short,
)  # fmt: skip
from ..errors import ConfigError
from .groups import GroupReport

COLOURS = (SKY, BLUE, ORANGE, GREEN, PURPLE, RED, FAINT)
BAR = 0.2  # inches
NAMES = 26  # letters of a group's name
MOST = 40  # groups that are drawn; of more the worst


def plot_groups(reports: Mapping[str, GroupReport], path: str | Path, title: str = "Accuracy by group") -> None:
    """Draw each group's accuracy with its 95 % interval, for one or several methods beside each other.

    reports  name of a method, such as "before" -> what it reaches; all over the same groups
    path     .png, .svg or .pdf; written whole or not at all

    Groups stand from the worst of the first report to its best. Raises ConfigError for another suffix, no reports,
    more than seven, other groups or without matplotlib, DiskError if path cannot be written.
    """
    if not 1 <= len(reports) <= len(COLOURS):
        raise ConfigError(f"reports: expected 1 to {len(COLOURS)} to draw, got {len(reports)}.")
    first = next(iter(reports.values()))
    order = [group.name for group in sorted(first.groups, key=lambda group: group.accuracy)]
    for name, report in reports.items():
        if sorted(group.name for group in report.groups) != sorted(order):
            raise ConfigError(f"{name}: expected the groups of the first report. Measure all on the same rows.")
    drawn, thick = order[:MOST], 0.8 / len(reports)
    tall = max(1.0, len(drawn) * (BAR * len(reports) + 0.12))
    high = tall + 1.25 + 0.22 * math.ceil(len(reports) / 2)
    figure = new_figure(path, 9.5, high)
    axes = figure.add_axes((0.25, 0.55 / high, 0.71, tall / high))
    for number, (name, report) in enumerate(reports.items()):
        by_name = {group.name: group for group in report.groups}
        shown = [by_name[group] for group in drawn]
        rows = [row - 0.4 + (number + 0.5) * thick for row in range(len(shown))]
        values = [100 * group.accuracy for group in shown]
        off = [
            [max(0.0, 100 * (g.accuracy - g.low)) for g in shown],
            [max(0.0, 100 * (g.high - g.accuracy)) for g in shown],
        ]
        label = f"{name}: worst {100 * report.worst:.1f} %, average {100 * report.average:.1f} %"
        axes.barh(rows, values, 0.92 * thick, color=COLOURS[number], label=label)
        axes.errorbar(values, rows, xerr=off, fmt="none", ecolor=INK, elinewidth=0.9, capsize=2)
    axes.set(xlim=(0, 100), ylim=(len(drawn) - 0.5, -0.5), xlabel="accuracy in %, with Wilson's 95 % interval")
    plain(axes)
    counts = {group.name: group.rows for group in first.groups}
    name_rows(axes, {row: f"{short(name, NAMES)} ({counts[name]})" for row, name in enumerate(drawn)}, 9)
    more = f" (the worst {MOST} of {len(order)})" if len(order) > MOST else ""
    heading(figure, title + more)
    legend = figure.legend(*axes.get_legend_handles_labels(), loc="upper left", ncols=2, frameon=False, fontsize=9,
                           bbox_to_anchor=(0.012, 1 - 0.45 / high))  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)
    save(figure, path)
