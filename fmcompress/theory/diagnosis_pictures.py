"""Pictures of a diagnosis: the error of several prompts, and what the best one says of each object."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .findings import Diagnosis, TaskDiagnosis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_TASKS = 6  # that are drawn: the hardest
TOP, HIGH, LETTERS = 0.6, 2.2, 24  # inches above tasks and of each; letters of a name


def plot_diagnosis(found: Diagnosis, path: str | Path, title: str = "What solves each task") -> None:
    """Draw how each task's error falls with the number of prompts, and what the best says of each object.

    Of more than six tasks the hardest are drawn.

    path  .png, .svg or .pdf; written whole or not at all, equal bytes for equal diagnoses

    Raises ConfigError for another suffix or without matplotlib, DiskError if path cannot be written.
    """
    from ..drawing import heading, new_figure, save
    from .verdicts import VERDICTS

    order = sorted(range(len(found.tasks)), key=lambda at: -VERDICTS.index(found.tasks[at].verdict))
    drawn = [found.tasks[at] for at in sorted(order[:MOST_TASKS])]
    high = TOP + HIGH * len(drawn)
    figure = new_figure(path, 9.5, high)
    for row, task in enumerate(drawn):
        bottom, tall = (high - TOP - HIGH * (row + 1) + 0.55) / high, (HIGH - 0.95) / high
        left = figure.add_axes((0.07, bottom, 0.36, tall))
        _curve(left, task)
        _strip(figure.add_axes((0.57, bottom, 0.40, tall)), found, task)
        if not row:
            figure.legend(*left.get_legend_handles_labels(), loc="upper right", ncols=2, frameon=False, fontsize=8.5,
                          title="error of prompts found (numbers: objects wrong)", title_fontsize=8.5)  # fmt: skip
    more = f" (the hardest {MOST_TASKS} of {len(found.tasks)})" if len(found.tasks) > MOST_TASKS else ""
    heading(figure, title + more)
    save(figure, path)


def _curve(axes: "Axes", task: TaskDiagnosis) -> None:
    from ..drawing import BLUE, FAINT, INK, ORANGE, plain

    sizes = range(1, len(task.curve) + 1)
    greedy = [(size, step.greedy) for size, step in zip(sizes, task.curve, strict=True) if step.greedy]
    exact = [(size, step.exact) for size, step in zip(sizes, task.curve, strict=True) if step.exact]
    axes.axhline(0.5, color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.plot([size for size, _ in greedy], [cover.error for _, cover in greedy], "o-", color=ORANGE, ms=4, lw=1.2,
              label="greedily")  # fmt: skip
    axes.plot([size for size, _ in exact], [cover.error for _, cover in exact], "s-", color=BLUE, ms=4, lw=1.2,
              label="exactly")  # fmt: skip
    for size, cover in greedy:
        axes.annotate(str(cover.wrong), (size, cover.error), (0, 5), textcoords="offset points", ha="center",
                      fontsize=7.5, color=INK)  # fmt: skip
    axes.set(xlim=(0.6, len(task.curve) + 0.4), ylim=(0, 1.12), xlabel="prompts joined by OR", ylabel="largest error")
    axes.set_xticks(list(sizes))
    told = f"{len(task.prompts)} prompts" if task.verdict == "k prompts" else task.verdict
    axes.set_title(f"{_short(task.name)}: {told}", loc="left", fontsize=10, color=INK, parse_math=False)
    plain(axes)


def _strip(axes: "Axes", found: Diagnosis, task: TaskDiagnosis) -> None:
    from ..drawing import FAINT, GREEN, INK, RED, name_rows, plain

    positive = np.array([found.labels.classes[number] == task.name for number in found.labels.numbers[found.rows]])
    values = found.scores.values[found.rows][:, task.best]
    for row, (kind, colour) in enumerate(((positive, GREEN), (~positive, RED))):
        spread = 0.5 * ((0.618034 * np.arange(kind.sum())) % 1 - 0.5)  # even, and the same each time
        axes.scatter(values[kind], row + spread, s=11, color=colour, alpha=0.7, linewidths=0)
    cut = float(task.measures.threshold[task.best])
    if values.min() <= cut <= values.max():
        axes.axvline(cut, color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set(ylim=(1.5, -0.5), xlabel="score; the line is the best threshold")
    name_rows(axes, {0: f"of it ({task.positives})", 1: f"others ({task.negatives})"}, 8.5)
    accuracy, auc = task.measures.accuracy[task.best], task.measures.auc[task.best]
    words = f"best prompt {_short(found.scores.prompts[task.best])!r}: {100 * accuracy:.1f} %, AUC {auc:.3f}"
    axes.set_title(words, loc="left", fontsize=10, color=INK, parse_math=False)
    plain(axes)


def _short(name: str) -> str:
    from ..drawing import short

    return short(name, LETTERS)
