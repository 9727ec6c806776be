"""The table of step_by_step.py as a picture: a line a method, with error bars."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fmcompress.drawing import BLUE, GREEN, INK, ORANGE, PURPLE, heading, new_figure, plain, save

COLOURS = {"step-by-step": BLUE, "fine-tuning": ORANGE, "distillation": GREEN, "rationale-then-label": PURPLE}


def plot_results(table: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Accuracy on test against training examples, mean and standard deviation over seeds; a panel a task."""
    lessons = list(dict.fromkeys(row["lesson"] for row in table))
    figure = new_figure(path, 5.2 * len(lessons), 4.4)
    for place, lesson in enumerate(lessons):
        axes = figure.add_axes(((0.09 + place) / len(lessons), 0.13, 0.86 / len(lessons), 0.66))
        for shift, (method, colour) in enumerate(COLOURS.items()):
            rows = [row for row in table if (row["lesson"], row["method"]) == (lesson, method)]
            aside = 1.02 ** (shift - 1.5)  # so that no bar hides another
            axes.errorbar(
                [row["examples"] * aside for row in rows], [100 * row["mean"] for row in rows],
                [100 * row["sd"] for row in rows], marker=".", capsize=3, color=colour, label=method,
            )  # fmt: skip
        plain(axes)
        axes.set_xscale("log")
        axes.set_xticks([row["examples"] for row in rows], [f"{row['examples']:,}" for row in rows])
        axes.minorticks_off()
        axes.set_ylim(bottom=0)
        axes.set_xlabel("training examples", color=INK)
        axes.set_ylabel("right on test, %", color=INK)
        axes.set_title(lesson, loc="left", fontsize=11, color=INK)
        axes.legend(frameon=False, fontsize=8)
    heading(figure, "A new T5 of 0.1 to 0.3 million parameters, by method")
    save(figure, path)
