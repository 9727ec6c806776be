"""What all pictures have in common: colours, units, figures and their files."""

import math
import os
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from .checkpoint import write_error
from .errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind people can tell apart
ORANGE, SKY, GREEN, YELLOW, BLUE, RED, PURPLE = (
    "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
INK, FAINT, REST = "#333333", "#8A8A8A", "#C8C8C8"
SUFFIXES = ("png", "svg", "pdf")
UNITS = ((1.0, "seconds", "s"), (1e-3, "milliseconds", "ms"), (1e-6, "microseconds", "µs"))


def new_figure(path: str | Path, width: float, height: float) -> "Figure":
    """An empty figure of so many inches, for that file; pyplot does not know of it. Raises ConfigError."""
    if Path(path).suffix.lower().lstrip(".") not in SUFFIXES:
        raise ConfigError(f"{path}: expected a name that ends in .png, .svg or .pdf.")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigError("a picture needs matplotlib: pip install 'fmcompress[plots]'.") from None
    return Figure(figsize=(width, height), facecolor="white")


def require_picture(path: Path) -> None:
    """Raise ConfigError for a picture that cannot be drawn or written: its suffix, matplotlib, its folder."""
    new_figure(path, 1, 1)
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: there is no folder {path.parent}. Make it first.")
    if not os.access(path.parent, os.W_OK):
        raise ConfigError(f"{path}: the folder {path.parent} cannot be written to. Choose another.")


def save(figure: "Figure", path: str | Path) -> None:
    """Write a figure, whole or not at all, the same bytes each time. Raises DiskError."""
    import matplotlib

    path = Path(path)
    kind, growing = path.suffix.lower().lstrip("."), path.with_name(f"{path.name}.partial")
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    try:
        with warnings.catch_warnings(), matplotlib.rc_context({"svg.hashsalt": "fmcompress"}):
            warnings.filterwarnings("ignore", "Glyph .* missing")  # of names; boxes say as much
            figure.savefig(growing, format=kind, dpi=150, metadata=undated)
        growing.replace(path)
    except OSError as error:
        growing.unlink(missing_ok=True)
        raise write_error(path, error) from None


def heading(figure: "Figure", words: str, below: float = 0.36) -> None:
    """A title so many inches below the upper edge, as it is: a $ is no formula."""
    at = 1 - below / figure.get_figheight()
    figure.text(0.02, at, words, fontsize=14, weight="bold", color=INK, parse_math=False)


def plain(axes: "Axes") -> None:
    """Little more than what is drawn, over faint lines of the scale."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="#E4E4E4", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=INK)
    axes.xaxis.label.set_color(INK)


def name_rows(axes: "Axes", names: Mapping[float, str], size: float) -> None:
    """Names beside rows, as they are: a $ is no formula."""
    axes.set_yticks(list(names), list(names.values()), fontsize=size)
    for text in axes.get_yticklabels():
        text.set_parse_math(False)


def finite(value: float) -> float:
    """The value, or 0 if it is infinite."""
    return value if math.isfinite(value) else 0.0


def unit_of(values: Iterable[float]) -> tuple[float, str, str]:
    """Seconds of a unit in which the largest of some is a handy number, its name and its sign."""
    largest = max(map(finite, values))
    return next((unit for unit in UNITS if largest >= unit[0]), UNITS[-1] if largest else UNITS[0])


def in_seconds(value: float) -> str:
    """A time in three digits, or more where it has more than that before the point."""
    if not math.isfinite(value):
        return "no end"
    unit, _, sign = unit_of([value])
    return f"{value / unit:.3g} {sign}" if value < 1000 else f"{value:.0f} s"


def short(name: str, letters: int) -> str:
    """A name of at most so many letters."""
    return name if len(name) <= letters else f"{name[: letters - 1]}…"
