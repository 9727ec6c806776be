"""Recalls as a table, and as a picture."""

from collections.abc import Mapping
from pathlib import Path

from rich.table import Table

from ...drawing import BLUE, GREEN, ORANGE, PURPLE, heading, new_figure, plain, save
from .retrieval import Recall

COLOURS = (BLUE, ORANGE, GREEN, PURPLE)


def recall_table(recalls: Mapping[str, Recall]) -> Table:
    """A line a direction."""
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for title in ("queries", *(f"recall@{k}" for k in next(iter(recalls.values())).at), "median rank"):
        table.add_column(title, justify="right")
    for name, one in recalls.items():
        shares = [f"{100 * share:.1f} %" for share in one.at.values()]
        table.add_row(name, str(one.queries), *shares, f"{one.median_rank:g}")
    return table


def plot_recalls(recalls: Mapping[str, Recall], path: Path, title: str = "Recall") -> None:
    """Draw the recalls of each direction beside each other: .png, .svg or .pdf."""
    figure = new_figure(path, 7.0, 3.6)
    axes = figure.add_axes((0.09, 0.14, 0.88, 0.66))
    thick = 0.8 / len(recalls)
    for number, (name, one) in enumerate(recalls.items()):
        places = [place - 0.4 + (number + 0.5) * thick for place in range(len(one.at))]
        shares = [100 * share for share in one.at.values()]
        axes.bar(places, shares, 0.9 * thick, color=COLOURS[number % len(COLOURS)], label=name)
    axes.set_xticks(range(len(one.at)), [f"recall@{k}" for k in one.at])
    axes.set_ylim(0, 100)
    axes.set_ylabel("% of queries")
    plain(axes)
    axes.grid(visible=False, axis="x")
    axes.grid(axis="y", color="#E4E4E4", linewidth=0.7)
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="lower right", bbox_to_anchor=(1, 1.0))
    heading(figure, title)
    save(figure, path)
