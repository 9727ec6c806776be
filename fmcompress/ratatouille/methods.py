"""How a model is made of finished fine-tunings: the best, the average of all, or a greedy soup, by validation alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import ConfigError
from ..merging.soup import choose
from ..merging.weights import Weights
from .job import FUSED, PRETRAINED, Run, Validate

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
    if how == "best":
        best = max(runs, key=_score)  # of equals the first
        chosen, weights, validation = [best], best.weights, _score(best)
    elif how == "greedy":
        chosen, weights, validation = _greedy(runs, validate, average)
    else:
        chosen, weights = list(runs), average([run.weights for run in runs])
        validation = validate(weights)
    return Dish(weights, tuple(run.job.name for run in chosen), validation, scores)


def _greedy(runs: Sequence[Run], validate: Validate, average: Average) -> tuple[list[Run], Weights, float]:
    """The runs kept, best first (ties are kept, as in the released code), their average, and its validation."""

    def weights_of(members: Sequence[int]) -> Weights:
        few = [runs[member].weights for member in members]
        return few[0] if len(few) == 1 else average(few)

    def score(members: Sequence[int]) -> float:
        return _score(runs[members[0]]) if len(members) == 1 else validate(weights_of(members))

    soup = choose(len(runs), score, tie=">=")
    return [runs[trial.added] for trial in soup.trials if trial.kept], weights_of(soup.members), soup.score


def _score(run: Run) -> float:
    if run.validation is None:
        raise ConfigError(f"{run.job.name}: expected a fine-tuning on the target, which was validated.")
    return run.validation
