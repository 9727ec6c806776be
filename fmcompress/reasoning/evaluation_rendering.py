"""Evaluations as a table, as lines about their traces, and as a picture."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from ..drawing import BLUE, GREEN, INK, ORANGE, PURPLE, SKY, heading, new_figure, save, short
from ..report import printable
from .evaluation import Evaluation

COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY)


def accuracy_table(found: Mapping[str, Evaluation]) -> Table:
    """A line a group, a column a method, in percent; the last line is all of them."""
    table = Table(box=None, pad_edge=False)
    asked = next(iter(found.values())).asked
    table.add_column("steps" if _by_steps(asked) else "")
    table.add_column("questions", justify="right")
    for name in found:
        table.add_column(Text(printable(name)), justify="right")
    for group, questions in asked.items():
        shares = [f"{100 * one.right[group] / questions:.1f} %" for one in found.values()]
        table.add_row(Text(printable(group)), str(questions), *shares)
    table.add_row("all", str(asked.total()), *(f"{100 * one.accuracy:.1f} %" for one in found.values()))
    return table


def trace_lines(found: Mapping[str, Evaluation]) -> list[str]:
    """What became of the traces, and what each method asked of the model."""
    lines = []
    for name, one in found.items():
        if one.traces:
            states = ", ".join(f"{count} {state}" for state, count in one.states.most_common())
            lines.append(
                f"{printable(name)}: {one.traces} traces, all valid; {states}; {one.steps / one.traces:.1f} steps"
            )
            if one.checked:
                lines.append(f"  {one.sound} of {one.checked} inferences follow from their selection ({_percent(one)})")
        if one.counts:
            counts = one.counts
            lines.append(
                f"{printable(name)}: {counts['generations']} texts of {counts['words']} words written, "
                f"{counts['continuations']} continuations of {counts['tokens']} tokens scored after "
                f"{counts['prefixes']} prefixes"
            )
    return lines


def _by_steps(groups: Iterable[str]) -> bool:
    """Whether any group is a number of steps."""
    return any(group.isdecimal() for group in groups)


def _percent(one: Evaluation) -> str:
    return f"{100 * one.sound / one.checked:.1f} %"


def plot_accuracy(groups: Mapping[str, Mapping[str, Mapping[str, Any]]], title: str, path: str | Path) -> None:
    """Bars of accuracy, a group of them for each depth.

    groups  by method and group: "accuracy" in [0, 1], and "sd" where it is the mean of several seeds

    Raises ConfigError, DiskError.
    """
    names = list(groups)
    labels = list(next(iter(groups.values())))
    across, high = max(5.0, 2.5 + 0.9 * len(labels)), 4.2  # inches
    figure = new_figure(path, across, high)
    axes = figure.add_axes((0.8 / across, 0.6 / high, (across - 1.0) / across, 2.75 / high))
    width = 0.8 / len(names)
    for place, name in enumerate(names):
        at = [group + (place - (len(names) - 1) / 2) * width for group in range(len(labels))]
        heights = [100 * groups[name][label]["accuracy"] for label in labels]
        spread = [100 * groups[name][label].get("sd", 0.0) for label in labels]
        bars = axes.bar(at, heights, 0.92 * width, label=name, color=COLOURS[place % len(COLOURS)])
        if any(spread):
            axes.errorbar(at, heights, spread, fmt="none", ecolor=INK, elinewidth=0.8, capsize=2)
        axes.bar_label(bars, [f"{height:.0f}" for height in heights], fontsize=7, color="white", label_type="center")
    axes.set_xticks(range(len(labels)), [printable(label) for label in labels], parse_math=False)
    axes.set_ylim(0, 108)
    axes.set_ylabel("right answers, %", color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=0, colors=INK)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=len(names), frameon=False, fontsize=9)
    if _by_steps(labels):
        axes.set_xlabel("steps of the shortest proof", color=INK)
    heading(figure, printable(short(title, round(7 * across))))
    save(figure, path)
