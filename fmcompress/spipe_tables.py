"""What `fmcompress spipe` prints."""

from collections.abc import Mapping

from rich.table import Table
from rich.text import Text

from .report import printable
from .vision_language.visual_clues import Spipe
from .vision_language.visual_clues.spipe import mean_of


def spipe_table(found: Mapping[str, Spipe]) -> Table:
    """A line an image, and the mean over images."""
    table = Table(box=None, pad_edge=False)
    table.add_column("image")
    for title in ("precision", "recall", "F1", "matched", "missed", "extra"):
        table.add_column(title, justify="right")
    for image, one in found.items():
        counts = (len(one.matched), len(one.missed), len(one.extra))
        shares = (one.precision, one.recall, one.f1)
        table.add_row(Text(printable(image)), *(f"{share:.3f}" for share in shares), *map(str, counts))
    if len(found) > 1:
        mean = mean_of(list(found.values()))
        table.add_row(f"mean of {len(found)}", *(f"{mean[name]:.3f}" for name in ("precision", "recall", "f1")))
    return table
