"""Pictures of the diagnostics: losses along lines, barriers of all pairs, diversity against the gain of averaging."""

from collections.abc import Mapping, Sequence
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
)
from ..errors import ConfigError

COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, RED)


def plot_lines(
    lines: Mapping[str, Sequence[float]], points: Sequence[float], path: str | Path, *,
    title: str = "Between two models", value: str = "loss",
) -> None:  # fmt: skip
    """Draw values along lines between two models, each over the straight line between its ends.

    lines   what a line is called -> a value for each point
    points  from 0 to 1
    path    .png, .svg or .pdf; written whole or not at all

    Raises ConfigError for no lines, lines of another length, another suffix or without matplotlib; DiskError.
    """
    if not lines or any(len(values) != len(points) for values in lines.values()):
        raise ConfigError(f"lines: expected one or more of {len(points)} values each, as many as points.")
    figure = new_figure(path, 7, 4.2)
    axes = figure.add_axes((0.11, 0.13, 0.86, 0.7))
    for number, (name, values) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        axes.plot(points, values, marker=".", color=colour, label=short(name, 40).replace("$", r"\$"))
        axes.plot([points[0], points[-1]], [values[0], values[-1]], color=colour, linewidth=0.8, linestyle=":")
    plain(axes)
    axes.set_xlabel("place on the line, dotted where there is no barrier", color=INK)
    axes.set_ylabel(value, color=INK)
    axes.legend(frameon=False, fontsize=8)
    heading(figure, title)
    save(figure, path)


def plot_barriers(
    matrix: Sequence[Sequence[float]], names: Sequence[str], path: str | Path, *, title: str = "Barriers"
) -> None:
    """Draw the barrier between every two models as a heat map with its numbers.

    Raises ConfigError unless the matrix is square with a name a row; DiskError.
    """
    size = len(names)
    if not size or len(matrix) != size or any(len(row) != size for row in matrix):
        raise ConfigError(f"matrix: expected {size} rows of {size}, a name each.")
    inner = 0.55 * size
    width, height = max(inner + 2.2, 4.5), inner + 1.9
    figure = new_figure(path, width, height)
    axes = figure.add_axes((1.9 / width, 1.2 / height, inner / width, inner / height))
    highest = max(max(row) for row in matrix)
    axes.imshow(matrix, cmap="cividis", vmin=0, vmax=highest or 1)
    for row, values in enumerate(matrix):
        for column, value in enumerate(values):
            ink = "white" if value < 0.6 * (highest or 1) else INK
            axes.text(column, row, f"{value:.3f}", ha="center", va="center", fontsize=7, color=ink)
    labels = [short(name, 24) for name in names]
    name_rows(axes, dict(enumerate(labels)), 8)
    axes.set_xticks(range(size), labels, fontsize=8, rotation=45, ha="right")
    for text in axes.get_xticklabels():
        text.set_parse_math(False)
    axes.tick_params(length=0, colors=INK)
    heading(figure, title)
    save(figure, path)


def plot_diversity(
    points: Mapping[str, Sequence[tuple[float, float]]], path: str | Path, *,
    title: str = "Diversity and what averaging gains", x: str = "ratio-error", y: str = "gain of averaging, points",
) -> None:  # fmt: skip
    """Draw a dot for each (diversity, gain), a colour for each group. Raises ConfigError for none; DiskError."""
    if not any(points.values()):
        raise ConfigError("points: none to draw.")
    figure = new_figure(path, 7, 4.2)
    axes = figure.add_axes((0.11, 0.13, 0.86, 0.7))
    axes.axhline(0, color=FAINT, linewidth=0.8)
    for number, (name, some) in enumerate(points.items()):
        axes.scatter(
            [at for at, _ in some], [gain for _, gain in some], s=18, color=COLOURS[number % len(COLOURS)],
            label=short(name, 40).replace("$", r"\$"),
        )  # fmt: skip
    plain(axes)
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.legend(frameon=False, fontsize=8)
    heading(figure, title)
    save(figure, path)
