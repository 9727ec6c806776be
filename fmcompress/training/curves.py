"""The curves of a training: each loss over the steps, and what was measured between them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..drawing import BLUE, GREEN, INK, ORANGE, PURPLE, RED, SKY, heading, new_figure, plain, save
from ..errors import ConfigError

POINTS = 60  # of a curve, each the mean of as many steps
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, RED)
NO_CURVES = ("step", "learning_rate", "loss")


def means(found: Sequence[tuple[int, float]]) -> tuple[list[float], list[float]]:
    """Steps and values, each the mean of neighbours, POINTS of them at most."""
    size = -(-len(found) // POINTS)
    parts = [found[begin : begin + size] for begin in range(0, len(found), size)]
    return [sum(step for step, _ in part) / len(part) for part in parts], [
        sum(value for _, value in part) / len(part) for part in parts
    ]


def plot_losses(records: Sequence[Mapping[str, Any]], path: str | Path, title: str = "Training") -> None:
    """Draw every number of a log but the learning rate and the sum of the losses, one below the other.

    records  of a training, as its observer got them; each point is the mean over steps around it
    path     .png, .svg or .pdf; written whole or not at all

    Raises ConfigError for another suffix, no records or without matplotlib, DiskError if path cannot be written.
    """
    if not records:
        raise ConfigError("records: none to draw.")
    names = list(dict.fromkeys(name for record in records for name in record if name not in NO_CURVES))
    high = 1.2 + 1.6 * len(names)
    figure = new_figure(path, 8, high)
    for place, name in enumerate(names):
        axes = figure.add_axes((0.1, (0.6 + 1.6 * (len(names) - 1 - place)) / high, 0.87, 1.2 / high))
        steps, values = means([(record["step"], record[name]) for record in records if name in record])
        colour = COLOURS[place % len(COLOURS)]
        axes.plot(
            steps, values, marker="." if len(steps) < 10 else None, color=colour, label=f"{values[-1]:.3g} at last"
        )
        plain(axes)
        axes.set(xlim=(0, max(record["step"] for record in records) + 0.5), ylim=(0, 1.05 * axes.get_ylim()[1]))
        axes.set_ylabel(name, color=INK)
        axes.legend(loc="lower right", bbox_to_anchor=(1.01, 0.95), frameon=False, fontsize=9)
        if place < len(names) - 1:
            axes.set_xticklabels([])
        else:
            axes.set_xlabel("step", color=INK)
    heading(figure, title)
    save(figure, path)
