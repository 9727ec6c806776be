"""Linear mode connectivity: what happens on the line between two models, without which averaging them is of no use."""

import math
from collections.abc import Callable, Sequence

from ..errors import ConfigError
from .weights import Weights, average

POINTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def between(a: Weights, b: Weights, point: float) -> Weights:
    """(1 - point) a + point b, tensor by tensor of one name, summed in float64 and rounded once.

    Integers and booleans must be equal. BatchNorm's statistics are interpolated as weights are, which is not what the
    model between the two would see: let `evaluate` compute them anew. Raises ConfigError for models that differ in more
    than numbers, or whose numbers are not finite.
    """
    return average([a, b], [1 - point, point], statistics=True)


def along_line(
    evaluate: Callable[[Weights], float], a: Weights, b: Weights, points: Sequence[float] = POINTS
) -> list[float]:
    """What evaluate says of the weights at each point, 0 is a and 1 is b. Raises ConfigError where that is NaN."""
    return [_told(evaluate, between(a, b, point)) for point in points]


def _told(evaluate: Callable[[Weights], float], weights: Weights) -> float:
    found = float(evaluate(weights))
    if math.isnan(found):  # no barrier could be seen beside it
        raise ConfigError("evaluate: expected a number, got NaN on the line between two models. Look at its data.")
    return found


def barrier(losses: Sequence[float], points: Sequence[float] = POINTS) -> float:
    """The most that losses along a line rise above the straight line between those at its ends.

    losses  lower is better: take errors, not accuracies
    points  where they were measured, from 0 to 1, both included

    0 where they never do; never less, as the ends lie on that line. Raises ConfigError for points without both ends,
    NaN, or an end that is infinite, above which nothing rises.
    """
    if len(losses) != len(points) or 0.0 not in points or 1.0 not in points:
        raise ConfigError(
            f"points: expected one a loss, 0 and 1 among them, got {list(points)} for {len(losses)} losses."
        )
    first, last = losses[points.index(0.0)], losses[points.index(1.0)]
    if any(map(math.isnan, losses)) or not (math.isfinite(first) and math.isfinite(last)):
        raise ConfigError(f"losses: expected numbers, finite at both ends, got {list(losses)}. Look at the two models.")
    inner = [(loss, point) for loss, point in zip(losses, points, strict=True) if point not in (0.0, 1.0)]
    return max([0.0, *(loss - (first + point * (last - first)) for loss, point in inner)])  # exactly 0 of equal losses


def barriers(
    evaluate: Callable[[Weights], float], models: Sequence[Weights], points: Sequence[float] = POINTS
) -> list[list[float]]:
    """The barrier between every two models: symmetric, 0 on the diagonal. Ends are evaluated once a model."""
    inner = [point for point in points if point not in (0.0, 1.0)]
    ends = [_told(evaluate, between(model, model, 0.0)) for model in models]
    found = [[0.0] * len(models) for _ in models]
    for row, a in enumerate(models):
        for column in range(row):
            losses = [ends[row], *along_line(evaluate, a, models[column], inner), ends[column]]
            found[row][column] = found[column][row] = barrier(losses, [0.0, *inner, 1.0])
    return found
