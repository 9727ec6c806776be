"""The picture of a recovery: losses, and perplexity between that of the pruned and of the dense model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..drawing import BLUE, FAINT, GREEN, INK, ORANGE, heading, new_figure, plain, save
from ..training.curves import means


def plot_recovery(records: Sequence[Mapping[str, Any]], path: str | Path, before: float, dense: float | None) -> None:
    """Draw the log of a recovery.

    records        steps with their losses, some with the perplexity on held-out text
    path           .png, .svg or .pdf; written whole or not at all
    before, dense  perplexity of the pruned and of the dense model

    Raises ConfigError for another suffix or without matplotlib, DiskError if path cannot be written.
    """
    figure = new_figure(path, 8, 5.6)
    loss, text = figure.add_axes((0.1, 0.56, 0.86, 0.3)), figure.add_axes((0.1, 0.1, 0.86, 0.36))
    for name, colour in (("teacher", BLUE), ("text", ORANGE)):
        found = [(record["step"], record[name]) for record in records if name in record]
        if found:
            steps, values = means(found)
            loss.plot(steps, values, color=colour, marker="." if len(steps) < 10 else None, label=name)
    measured = [(record["step"], record["perplexity"]) for record in records if "perplexity" in record]
    text.plot([0, *(step for step, _ in measured)], [before, *(value for _, value in measured)], "o-", color=GREEN,
              markersize=4, label="recovering")  # fmt: skip
    for value, name, style in ((before, "pruned", ":"), (dense, "dense", "--")):
        if value is not None:
            text.axhline(value, color=FAINT, linestyle=style, linewidth=1, label=f"{name} {value:.3f}")
    last = max((record["step"] for record in records), default=1)
    for axes, label in ((loss, "loss, nats a token"), (text, "held-out perplexity")):
        plain(axes)
        axes.set(xlim=(0, last + 0.5))
        axes.set_ylabel(label, color=INK)
        axes.legend(loc="upper right", frameon=False, fontsize=9)
    loss.set(ylim=(0, None))
    text.set_xlabel("step", color=INK)
    heading(figure, "Recovery of a pruned model")
    save(figure, path)
