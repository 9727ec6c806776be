"""A trace as a picture: used statements on the left, what follows from them on the right, the answer below."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..drawing import FAINT, GREEN, INK, ORANGE, SKY, new_figure, save, short
from ..report import printable
from .trace import ANSWERED, Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# inches
WIDTH, GAP, EDGE, ROOM, LINE, PAD, BETWEEN = 3.3, 1.0, 0.35, 0.75, 0.165, 0.16, 0.2
LETTERS, OF_TITLE, LONGEST = 42, 74, 320  # of a line in a box and above, and of a text


@dataclass
class _Box:
    """A text at its place: x is its left edge, y the middle, downwards."""

    text: str
    x: float
    colour: str
    y: float = 0.0

    @property
    def height(self) -> float:
        return PAD + LINE * (self.text.count("\n") + 1)


def plot_trace(trace: Trace, path: str | Path) -> None:
    """Draw what an answer rests on into a .png, .svg or .pdf, and how many statements and steps it does not rest on.

    Numbers count from 1. Raises ConfigError for another ending, DiskError if the file cannot be written.
    """
    question = _wrapped(trace.question, OF_TITLE)
    top = 0.45 + 0.22 * (question.count("\n") + 1)
    boxes, height = _placed(trace, top)
    figure = new_figure(path, EDGE + 2 * WIDTH + GAP + ROOM, height + 0.55)
    axes: Any = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, figure.get_figwidth()), ylim=(figure.get_figheight(), 0))
    axes.axis("off")
    _say(axes, EDGE, 0.3, question, size=12, weight="bold", va="top")
    for box in boxes.values():
        _draw_box(axes, box)
    for begin, end in _arrows(trace):
        _draw_arrow(axes, boxes[begin], boxes[end], list(boxes.values()))
    _say(axes, EDGE, height + 0.25, _unused(trace), size=9, color=FAINT)
    save(figure, path)


def _placed(trace: Trace, top: float) -> tuple[dict[int, _Box], float]:
    """Boxes by number, that of the answer by -1, and where the last ends.

    A statement stands beside the first step that it is selected in.
    """
    boxes: dict[int, _Box] = {}
    right, y = EDGE + WIDTH + GAP, top
    for number in _inferred(trace):
        step = trace.steps[number - len(trace.context)]
        new = [one for one in sorted(step.selection) if one < len(trace.context) and one not in boxes]
        left = [_Box(_named(trace, one), EDGE, "#F4F4F4") for one in new]
        inference = _Box(_named(trace, number), right, SKY)
        tall = max(sum(box.height + BETWEEN for box in left), inference.height + BETWEEN)
        inference.y = y + (tall - BETWEEN) / 2
        _stack(left, inference.y)
        boxes |= dict(zip(new, left, strict=True)) | {number: inference}
        y += tall + 0.15
    answered = trace.state == ANSWERED
    told = f"Answer: {trace.answer}" if answered else f"Answer: {trace.answer} ({trace.reason})"
    answer = _Box(_wrapped(told, LETTERS), right, GREEN if answered else ORANGE)
    answer.y = y + 0.1 + answer.height / 2
    boxes[-1] = answer
    return boxes, answer.y + answer.height / 2


def _stack(boxes: Sequence[_Box], middle: float) -> None:
    y = middle - (sum(box.height + BETWEEN for box in boxes) - BETWEEN) / 2
    for box in boxes:
        box.y = y + box.height / 2
        y += box.height + BETWEEN


def _inferred(trace: Trace) -> list[int]:
    """Numbers of the inferences that the answer rests on."""
    return [number for number in trace.support() if number >= len(trace.context)]


def _arrows(trace: Trace) -> list[tuple[int, int]]:
    inferred = _inferred(trace)
    found = [(one, number) for number in inferred for one in trace.steps[number - len(trace.context)].selection]
    return [*found, *((number, -1) for number in inferred[-1:])]


def _draw_box(axes: "Axes", box: _Box) -> None:
    from matplotlib.patches import FancyBboxPatch

    axes.add_patch(
        FancyBboxPatch(
            (box.x, box.y - box.height / 2), WIDTH, box.height, boxstyle="round,pad=0,rounding_size=0.06",
            facecolor=box.colour, edgecolor=FAINT, linewidth=0.8, alpha=None if box.x == EDGE else 0.45, zorder=2,
        )
    )  # fmt: skip
    _say(axes, box.x + 0.1, box.y, box.text, size=9, va="center")


def _draw_arrow(axes: "Axes", begin: _Box, end: _Box, boxes: Sequence[_Box]) -> None:
    """From a statement to the left edge, from one inference down to the next, and around those between on the right."""
    from matplotlib.patches import FancyArrowPatch

    style, middle = "arc3,rad=0", end.x + WIDTH / 2
    places = (begin.x + WIDTH, begin.y), (end.x, end.y)
    if begin.x > EDGE:
        places = (middle, begin.y + begin.height / 2), (middle, end.y - end.height / 2)
        between = sum(box.x > EDGE and begin.y < box.y < end.y for box in boxes)
        if between:
            places = (begin.x + WIDTH, begin.y), (end.x + WIDTH, end.y)
            style = f"arc3,rad={-2 * min(ROOM - 0.1, 0.15 + 0.1 * between) / (end.y - begin.y):.4f}"
    axes.add_patch(
        FancyArrowPatch(
            *places, arrowstyle="-|>", mutation_scale=10, color=INK, linewidth=1.0, shrinkA=0, shrinkB=1,
            connectionstyle=style, zorder=1,
        )
    )  # fmt: skip


def _say(axes: "Axes", x: float, y: float, text: str, **style: Any) -> None:
    axes.text(x, y, text, **{"color": INK, "parse_math": False, "zorder": 3, **style})


def _named(trace: Trace, number: int) -> str:
    return _wrapped(f"{number + 1}. {trace.statements[number]}", LETTERS)


def _wrapped(text: str, letters: int) -> str:
    return "\n".join(textwrap.wrap(printable(short(text, LONGEST)), letters)) or " "


def _unused(trace: Trace) -> str:
    used = sum(number < len(trace.context) for number in trace.support())
    steps = len(trace.steps) - len(_inferred(trace))
    others = f", and {steps} of {len(trace.steps)} steps" if steps else ""
    return f"{len(trace.context) - used} of {len(trace.context)} statements are not used{others}."
