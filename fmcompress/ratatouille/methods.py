"""How a model is made of finished fine-tunings: the best, the average of all, or a greedy soup, by validation alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import ConfigError
from .job import FUSED, PRETRAINED, Run, Validate
from .weights import Weights

RECYCLED = "recycled"
# method -> where its fine-tunings start, and what is made of them. All have the same number of fine-tunings.
METHODS = {
    "erm": (PRETRAINED, "best"),
    "soup": (PRETRAINED, "greedy"),
    "diwa": (PRETRAINED, "uniform"),
    "inter-training": (RECYCLED, "best"),
    "fusing": (FUSED, "best"),
    "ratatouille": (RECYCLED, "uniform"),
    "ratatouille-greedy": (RECYCLED, "greedy"),
}
Average = Callable[[Sequence[Weights]], Weights]


@dataclass(frozen=True)
class Dish:
    """A finished model.

    weights     to be used as they are, by one model
    chosen      names of the fine-tunings that it was made of, best validation first where it was looked at
    validation  of the weights
    candidates  name of each fine-tuning -> its validation
    """

    weights: Weights
    chosen: tuple[str, ...]
    validation: float
    candidates: dict[str, float]


def make(how: str, runs: Sequence[Run], validate: Validate, average: Average) -> Dish:
    """Make a model of fine-tunings. `how` is "best", "uniform" or "greedy". Raises ConfigError if there are none."""
    if not runs:
        raise ConfigError("runs: expected at least one, got none.")
    scores = {run.job.name: _score(run) for run in runs}
    ordered = sorted(runs, key=_score, reverse=True)  # of equals the first
    if how == "best":
        chosen, weights, validation = ordered[:1], ordered[0].weights, _score(ordered[0])
    elif how == "greedy":
        chosen, weights, validation = greedy(ordered, validate, average)
    else:
        chosen, weights = list(runs), average([run.weights for run in runs])
        validation = validate(weights)
    return Dish(weights, tuple(run.job.name for run in chosen), validation, scores)


def greedy(ordered: Sequence[Run], validate: Validate, average: Average) -> tuple[list[Run], Weights, float]:
    """Add runs to the average, best first, each kept unless validation falls (ties are kept, as in the released code).

    Never below the best single run by validation. Returns the runs kept, their average, and its validation.
    """
    chosen, weights, best = [ordered[0]], ordered[0].weights, _score(ordered[0])
    for run in ordered[1:]:
        tried = average([one.weights for one in (*chosen, run)])
        found = validate(tried)
        if found >= best:
            chosen, weights, best = [*chosen, run], tried, found
    return chosen, weights, best


def _score(run: Run) -> float:
    if run.validation is None:
        raise ConfigError(f"{run.job.name}: expected a fine-tuning on the target, which was validated.")
    return run.validation
