"""The curves of a training: each loss over the steps, and where images ended and videos began."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...drawing import BLUE, FAINT, GREEN, INK, ORANGE, PURPLE, heading, new_figure, plain, save
from ...errors import ConfigError
from .objective import LOSSES

COLOURS = dict(zip(LOSSES, (BLUE, ORANGE, GREEN, PURPLE), strict=True))
POINTS = 60  # of a curve, each the mean of as many steps


def plot_losses(records: Sequence[Mapping[str, Any]], path: str | Path, title: str = "Training of OmniVL") -> None:
    """Draw the losses of a log: images whole lines, videos dashed, each point the mean over steps around it.

    records  of a training, as its observer got them
    path     .png, .svg or .pdf; written whole or not at all

    Raises ConfigError for another suffix, no records or without matplotlib, DiskError if path cannot be written.
    """
    if not records:
        raise ConfigError("records: none to draw.")
    names = [name for name in LOSSES if any(name in record for record in records)]
    high = 1.3 + 1.5 * len(names)
    figure = new_figure(path, 8, high)
    last = max(record["step"] for record in records)
    borders = [
        later["step"] - 0.5
        for record, later in zip(records, records[1:], strict=False)
        if record["stage"] != later["stage"]
    ]
    for place, name in enumerate(names):
        axes = figure.add_axes((0.1, (0.6 + 1.5 * (len(names) - 1 - place)) / high, 0.87, 1.2 / high))
        for videos, style in ((False, "-"), (True, "--")):
            found = [(r["step"], r[name]) for r in records if name in r and r["videos"] == videos]
            if found:
                steps, values = _means(found)
                axes.plot(steps, values, style, marker="." if len(steps) == 1 else None, color=COLOURS[name],
                          label=f"{'videos' if videos else 'images'}: {values[-1]:.3g} at last")  # fmt: skip
        for border in borders:
            axes.axvline(border, color=FAINT, linewidth=0.8)
        plain(axes)
        axes.set(xlim=(0, last + 0.5), ylim=(0, None))
        axes.set_ylabel(name, color=INK)
        axes.legend(loc="upper right", frameon=False, fontsize=9)
        if place < len(names) - 1:
            axes.set_xticklabels([])
        else:
            axes.set_xlabel("step", color=INK)
    heading(figure, title)
    save(figure, path)


def _means(found: Sequence[tuple[int, float]]) -> tuple[list[float], list[float]]:
    """Steps and values, each the mean of neighbours, POINTS of them at most."""
    size = -(-len(found) // POINTS)
    parts = [found[begin : begin + size] for begin in range(0, len(found), size)]
    return [sum(step for step, _ in part) / len(part) for part in parts], [
        sum(value for _, value in part) / len(part) for part in parts
    ]
