"""A picture of a greedy soup: its trials, best candidate first."""

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..drawing import FAINT, GREEN, INK, RED, finite, heading, name_rows, new_figure, plain, save, short
from .soup import Soup

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_soup(soup: Soup, names: Sequence[str], path: str | Path, *, value: str = "score") -> None:
    """Draw a row a candidate in the order in which they were tried: its own score, and that of the average with it.

    names  one a candidate
    path   .png, .svg or .pdf; written whole or not at all

    What is so far away that the rest would be one point is a triangle at the edge; NaN and infinities are left out, and
    0 is in the middle where the soup's own score is one.
    Raises ConfigError for another suffix or without matplotlib; DiskError.
    """
    rows = range(len(soup.trials))
    height = 1.7 + 0.3 * len(rows)
    figure = new_figure(path, 8, height)
    axes = figure.add_axes((0.3, 0.65 / height, 0.67, (height - 1.35) / height))
    alone = [(soup.singles[trial.added], row) for row, trial in enumerate(soup.trials)]
    tried = [(trial.score, row, trial.kept) for row, trial in enumerate(soup.trials) if row]
    middle = finite(soup.score)
    reach = _reach(soup, middle)
    _dots(axes, alone, middle, reach, "none", FAINT, "alone")
    for kept, colour, label in ((True, GREEN, "average with it, kept"), (False, RED, "average with it, left out")):
        _dots(axes, [one[:2] for one in tried if one[2] == kept], middle, reach, colour, colour, label)
    axes.axvline(middle, color=GREEN, linewidth=0.8, linestyle=":")
    axes.set_xlim(middle - 1.1 * reach, middle + 1.1 * reach)
    axes.ticklabel_format(axis="x", useOffset=False)
    plain(axes)
    name_rows(axes, {row: short(names[trial.added], 32) for row, trial in enumerate(soup.trials)}, 9)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(f"{value}, dotted: the soup", color=INK)
    figure.legend(loc="upper right", frameon=False, fontsize=8, ncols=3, bbox_to_anchor=(0.98, 1 - 0.42 / height))
    heading(figure, "Greedy soup")
    save(figure, path)


def _reach(soup: Soup, middle: float) -> float:
    """How far from the middle, which is the soup's score, is drawn to scale: three times the median distance."""
    scores = [*soup.singles, *(trial.score for trial in soup.trials)]
    away = [abs(score - middle) for score in scores if finite(score) == score and score != middle]
    return 3 * statistics.median(away) if away else 1.0


def _dots(
    axes: "Axes", points: Iterable[tuple[float, int]], middle: float, reach: float, face: str, edge: str, label: str
) -> None:
    axes.scatter([], [], facecolor=face, edgecolor=edge, label=label)
    for score, row in points:
        if finite(score) == score:
            away = max(-reach, min(reach, score - middle))
            marker = "o" if away == score - middle else ">" if away > 0 else "<"
            axes.scatter(middle + away, row, facecolor=face, edgecolor=edge, marker=marker, zorder=3)
