"""Charts as inline SVG: axes with ticks, marks that tell their values when pointed at. The style sheet has colours."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .markup import Markup, joined, tag

WIDTH, HEIGHT = 640, 310
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 14, 46
SERIES = 8  # colours in the style sheet


def short(value: float) -> str:
    """0.00025 -> "0.00025", 12500 -> "12,500": up to three digits that matter."""
    if value and not 1e-4 <= abs(value) < 1e6:
        return f"{value:.2g}"
    return f"{value:,.3f}".rstrip("0").rstrip(".") if abs(value) >= 0.1 else f"{value:.2g}"


@dataclass(frozen=True)
class Axis:
    """A range of values, what they are, and how a tick is written.

    whole  ticks at whole numbers only
    """

    low: float
    high: float
    label: str
    log: bool = False
    whole: bool = False
    text: Callable[[float], str] = short

    def share(self, value: float) -> float:
        """Where a value lies, from 0 at the low end to 1."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Round values inside the range."""
        return _log_ticks(self.low, self.high) if self.log else _linear_ticks(self.low, self.high, self.whole)


def _linear_ticks(low: float, high: float, whole: bool, most: int = 7) -> list[float]:
    step = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(step * factor for factor in (1, 2, 5, 10, 20) if (high - low) / (step * factor) <= most)
    step = max(step, 1.0) if whole else step
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        every = max(1, len(decades) // 8)
        ticks = [factor * 10.0**decade for decade in decades[::every] for factor in factors]
        inside = [tick for tick in ticks if low <= tick <= high]
        if len(inside) >= 4:
            return inside
    return inside if len(inside) > 1 else _linear_ticks(low, high, whole=False)


def span(values: Iterable[float], *, log: bool = False, pad: float = 0.06) -> tuple[float, float]:
    """A range around values, never empty."""
    found = list(values)
    low, high = min(found), max(found)
    if log:
        room = max((high / low) ** pad, 1.15)
        return low / room, high * room
    room = (high - low) * pad or abs(high) * pad or 1.0
    return low - room, high + room


class Chart:
    """Marks on a pair of axes."""

    def __init__(self, x: Axis, y: Axis, width: int = WIDTH, height: int = HEIGHT) -> None:
        self.x, self.y, self.width, self.height = x, y, width, height
        self.marks: list[Markup] = []

    def at(self, x: float, y: float) -> tuple[float, float]:
        """The place of a point, in the units of the drawing."""
        wide, high = self.width - LEFT - RIGHT, self.height - TOP - BOTTOM
        return LEFT + wide * self.x.share(x), TOP + high * (1 - self.y.share(y))

    def series(
        self, points: Sequence[tuple[float, float, str]], kind: int, *, line: bool = True, r: float = 2.6
    ) -> None:
        """Points (x, y, what a person should read there), joined by a line."""
        places = [self.at(x, y) for x, y, _ in points]
        path = tag("polyline", points=_list(places), class_="line") if line and len(points) > 1 else None
        dots = [
            tag("circle", tag("title", text), cx=x, cy=y, r=r, class_="dot")
            for (x, y), (_, _, text) in zip(places, points, strict=True)
        ]
        self.marks.append(tag("g", path, joined(dots), class_=f"series s{kind % SERIES}"))

    def area(self, points: Sequence[tuple[float, float]], kind: int) -> None:
        """A filled line above the bottom of the chart."""
        places = [self.at(x, y) for x, y in points]
        bottom = self.height - BOTTOM
        closed = [(places[0][0], bottom), *places, (places[-1][0], bottom)]
        shape = (
            tag("polygon", points=_list(closed), class_="area"),
            tag("polyline", points=_list(places), class_="line"),
        )
        self.marks.append(tag("g", *shape, class_=f"series s{kind % SERIES}"))

    def bar(self, left: float, right: float, low: float, high: float, kind: int, text: str) -> None:
        """A rectangle from values to values."""
        (x0, y0), (x1, y1) = self.at(left, low), self.at(right, high)
        size = {"x": x0, "y": y1, "width": max(0.3, x1 - x0), "height": max(0.0, y0 - y1)}
        self.marks.append(tag("rect", tag("title", text), **size, class_=f"bar series s{kind % SERIES}"))

    def rule(self, *, x: float | None = None, y: float | None = None, text: str = "", class_: str = "rule") -> None:
        """A line across the chart, at one value."""
        bottom, right = self.height - BOTTOM, self.width - RIGHT
        if x is not None:
            place = self.at(x, self.y.low)[0]
            line = tag("line", tag("title", text), x1=place, x2=place, y1=TOP, y2=bottom, class_=class_)
            self.marks.append(line)
        if y is not None:
            place = self.at(self.x.low, y)[1]
            line = tag("line", x1=LEFT, x2=right, y1=place, y2=place, class_=class_)
            self.marks.append(line)
            if text:
                self.note(right - 4, place - 5, text, "end")

    def note(self, x: float, y: float, text: str, anchor: str = "start") -> None:
        """A text at a place of the drawing."""
        self.marks.append(tag("text", text, x=x, y=y, class_="note", text_anchor=anchor))

    def render(self, name: str) -> Markup:
        """The SVG element; `name` is what a screen reader says."""
        size = f"0 0 {self.width} {self.height}"
        return tag("svg", self._grid(), joined(self.marks), self._labels(), viewBox=size, role="img", aria_label=name)

    def _grid(self) -> Markup:
        bottom, right, parts = self.height - BOTTOM, self.width - RIGHT, []
        for value in self.y.ticks():
            place = self.at(self.x.low, value)[1]
            parts.append(tag("line", x1=LEFT, x2=right, y1=place, y2=place, class_="grid"))
            parts.append(tag("text", self.y.text(value), x=LEFT - 7, y=place + 4, class_="tick", text_anchor="end"))
        for value in self.x.ticks():
            place = self.at(value, self.y.low)[0]
            parts.append(tag("line", x1=place, x2=place, y1=bottom, y2=bottom + 4, class_="axis"))
            parts.append(tag("text", self.x.text(value), x=place, y=bottom + 17, class_="tick", text_anchor="middle"))
        parts.append(tag("line", x1=LEFT, x2=right, y1=bottom, y2=bottom, class_="axis"))
        return joined(parts)

    def _labels(self) -> Markup:
        across = tag("text", self.x.label, x=(LEFT + self.width - RIGHT) / 2, y=self.height - 8, class_="label")
        middle = (TOP + self.height - BOTTOM) / 2
        upwards = tag("text", self.y.label, transform=f"translate(14 {middle:.0f}) rotate(-90)", class_="label")
        return joined([across, upwards])


def legend(names: Sequence[str]) -> Markup | None:
    """What the colours mean; pointing at a name dims the others. None for a single one."""
    if len(names) < 2:
        return None
    keys = [tag("li", tag("i"), name, class_=f"k{kind % SERIES}") for kind, name in enumerate(names)]
    return tag("ul", *keys, class_="legend")


def _list(places: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
