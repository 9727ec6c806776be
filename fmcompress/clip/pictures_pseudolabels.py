"""The curve of a prompt that is tuned by pseudo-labels: how many there are, how true, and what comes of them."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..drawing import BLUE, FAINT, GREEN, INK, ORANGE, heading, new_figure, plain, save
from .tuned import Tuned

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TRAINED = {"fpl": "FPL", "ifpl": "IFPL", "grip": "GRIP", "labelled": "labelled images alone"}
PARADIGMS = {"ssl": "semi-supervised", "trzsl": "transductive zero-shot", "ul": "unsupervised"}


def plot_pseudolabels(tuned: Tuned, path: str | Path, title: str | None = None) -> None:
    """Draw each iteration: pseudo-labels a class, the share of them that is true, and the accuracy where it is known.

    path  .png, .svg or .pdf; written whole or not at all

    Raises ConfigError for another suffix or without matplotlib, DiskError if path cannot be written.
    """
    figure = new_figure(path, 8, 4.6)
    axes = figure.add_axes((0.09, 0.14, 0.81, 0.56))
    numbers = list(range(1, len(tuned.history) + 1))
    lines = _lines(tuned, numbers, axes)
    bars = axes.twinx()
    bars.bar(numbers, [one.k for one in tuned.history], 0.5, color="#E9E9E9", label="pseudo-labels a class")
    bars.set_ylabel("pseudo-labels a class", color=FAINT)
    bars.tick_params(length=0, colors=FAINT)
    bars.spines[["top", "left", "right"]].set_visible(False)
    axes.set_zorder(bars.get_zorder() + 1)  # lines over bars
    axes.patch.set_visible(False)
    plain(axes)
    axes.grid(axis="x", visible=False)
    axes.grid(axis="y", color="#E4E4E4", linewidth=0.7)
    axes.set(xlabel="iteration", xlim=(0.4, len(numbers) + 0.6), xticks=numbers, ylim=(0, 104))
    axes.set_ylabel("%", color=INK)
    config = tuned.config
    heading(figure, title or f"{TRAINED[config.strategy]}, {PARADIGMS[config.paradigm]}")
    handles = [*lines, *bars.get_legend_handles_labels()[0]]
    figure.legend(handles, [one.get_label() for one in handles], loc="upper left", bbox_to_anchor=(0.012, 0.9),
                  ncols=2, frameon=False, fontsize=9)  # fmt: skip
    save(figure, path)


def _lines(tuned: Tuned, numbers: list[int], axes: "Axes") -> list[Any]:
    """What is known of every iteration, in %, and what the model was worth before."""
    history, lines = tuned.history, []
    measured = "harmonic mean" if tuned.seen is not None else "accuracy"

    def draw(values: list[float | None], label: str, colour: str) -> None:
        if None not in values:
            percent = [100 * value for value in values if value is not None]
            lines.extend(axes.plot(numbers, percent, "o-", color=colour, label=f"{label}: {percent[-1]:.1f} % at last"))

    draw([one.evaluation.score if one.evaluation else None for one in history], measured, BLUE)
    draw([one.label_accuracy for one in history], "true pseudo-labels", GREEN)
    draw([one.validation_accuracy for one in history], "agreement with held-out pseudo-labels", ORANGE)
    if tuned.zero_shot:
        before = 100 * tuned.zero_shot.score
        label = f"{measured} without a prompt: {before:.1f} %"
        lines.append(axes.axhline(before, color=INK, linestyle="--", linewidth=1, label=label))
    return lines
