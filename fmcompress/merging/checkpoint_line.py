"""The line between two checkpoints on disk: what a score says of the models on it, and the barrier between them."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..checkpoint import write_error
from ..errors import ConfigError
from .connectivity import POINTS, barrier
from .plan import MergePlan, plan_merge
from .recipe import recipe_of
from .run import merge_checkpoints

CONNECTED = 0.01  # nats a token, 1 % of perplexity: a bound of ours, at which averages lose little


@dataclass(frozen=True)
class Line:
    """Losses on the way from one model to another.

    points  from 0, the first model, to 1, the second
    losses  one a point
    """

    points: tuple[float, ...]
    losses: tuple[float, ...]

    @property
    def barrier(self) -> float:
        """See connectivity.barrier."""
        return barrier(self.losses, self.points)

    @property
    def best(self) -> float:
        """The point of the lowest loss, the first of equals."""
        return self.points[self.losses.index(min(self.losses))]

    @property
    def verdict(self) -> str:
        """What the barrier means for averaging the two, in a sentence or two."""
        if not self.barrier <= CONNECTED:
            return (
                "The models are not linearly connected: averages of them lose what the barrier says, and a greedy soup "
                "keeps one of them. Fine-tune them from one pretrained model, for fewer steps or at a lower rate."
            )
        if 0 < self.best < 1:
            return f"The models are linearly connected, and {self.best:g} of the way the average is better than both."
        return (
            "The models are linearly connected: averaging them is safe, but no average is better than the better one."
        )


def spaced(count: int) -> tuple[float, ...]:
    """So many points from 0 to 1. Raises ConfigError for fewer than 3, which have nothing between the ends."""
    if count < 3:
        raise ConfigError(f"points: expected 3 or more, the two models among them, got {count}.")
    return tuple(number / (count - 1) for number in range(count))


def checkpoint_line(
    a: Path,
    b: Path,
    loss: Callable[[Path], float],
    points: Sequence[float] = POINTS,
    *,
    any_vocabulary: bool = False,
    scratch: Path | None = None,
    progress: Callable[[int, int, str], None] = lambda done, total, what: None,
) -> Line:
    """Losses of (1 - point) a + point b; the ends are a and b as they are.

    loss      of a checkpoint's folder, lower is better
    scratch   folder for one interpolated model at a time; by default the system's for temporary files
    progress  called before each with (done, all, the point)

    Raises ConfigError, CheckpointError if the models do not fit, DiskError; nothing is left behind.
    """
    _plan(a, b, 0.5, any_vocabulary)  # raises before any work
    losses = []
    try:
        held = tempfile.TemporaryDirectory(prefix="fmcompress-line-", dir=scratch)
    except OSError as error:
        raise write_error(scratch or Path(tempfile.gettempdir()), error) from None
    with held as folder:
        between = Path(folder) / "between"
        for done, point in enumerate(points):
            progress(done, len(points), f"{point:g}")
            if point in (0, 1):
                losses.append(float(loss(b if point else a)))
                continue
            merge_checkpoints(_plan(a, b, point, any_vocabulary), between)
            losses.append(float(loss(between)))
            shutil.rmtree(between)
    return Line(tuple(points), tuple(losses))


def _plan(a: Path, b: Path, point: float, any_vocabulary: bool) -> MergePlan:
    models = [
        {"model": str(folder), "parameters": {"weight": weight}} for folder, weight in ((a, 1 - point), (b, point))
    ]
    recipe = recipe_of({"models": models, "merge_method": "linear", "parameters": {"normalize": False}})
    return plan_merge(recipe, any_vocabulary=any_vocabulary)
