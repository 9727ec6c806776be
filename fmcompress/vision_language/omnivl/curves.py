"""The curves of a training: each loss over the steps, and where images ended and videos began."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from ...drawing import BLUE, FAINT, GREEN, INK, ORANGE, PURPLE, heading, new_figure, plain, save
from ...errors import ConfigError
from ...training.curves import means
from .objective import LOSSES

COLOURS = dict(zip(LOSSES, (BLUE, ORANGE, GREEN, PURPLE), strict=True))


def plot_losses(records: Sequence[Mapping[str, Any]], path: str | Path, title: str = "Training of OmniVL") -> None:
    """Draw the losses of a log: images whole lines, videos dashed, each point the mean over steps around it.

    records  of a training, as its observer got them
    path     .png, .svg or .pdf; written whole or not at all

    Raises ConfigError for another suffix, no records or without matplotlib, DiskError if path cannot be written.
    """
    if not records:
        raise ConfigError("records: none to draw.")
    names = [name for name in LOSSES if any(name in record for record in records)]
    high = 1.2 + 1.6 * len(names)
    figure = new_figure(path, 8, high)
    last = max(record["step"] for record in records)
    borders = [later["step"] - 0.5 for record, later in pairwise(records) if record["stage"] != later["stage"]]
    for place, name in enumerate(names):
        axes = figure.add_axes((0.1, (0.6 + 1.6 * (len(names) - 1 - place)) / high, 0.87, 1.2 / high))
        for videos, style in ((False, "-"), (True, "--")):
            found = [(r["step"], r[name]) for r in records if name in r and r["videos"] == videos]
            if found:
                steps, values = means(found)
                axes.plot(steps, values, style, marker="." if len(steps) == 1 else None, color=COLOURS[name],
                          label=f"{'videos' if videos else 'images'}: {values[-1]:.3g} at last")  # fmt: skip
        for border in borders:
            axes.axvline(border, color=FAINT, linewidth=0.8)
        plain(axes)
        axes.set(xlim=(0, last + 0.5), ylim=(0, 1.05 * axes.get_ylim()[1]))
        axes.set_ylabel(name, color=INK)
        axes.legend(loc="lower right", bbox_to_anchor=(1.01, 0.95), ncols=2, frameon=False, fontsize=9)
        if place < len(names) - 1:
            axes.set_xticklabels([])
        else:
            axes.set_xlabel("step", color=INK)
    heading(figure, title)
    save(figure, path)
