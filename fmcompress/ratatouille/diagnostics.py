"""How differently models err, and whether their average does what their ensemble does."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from ..errors import ConfigError
from ..merging.weights import Weights, average


@dataclass(frozen=True)
class Diversity:
    """Of a pair of models, or with counts added up over all pairs of several.

    ratio_error   samples on which exactly one of the two errs, over those on which both do (after Aksela 2003);
                  higher is more diverse; inf where both never err at once
    q_statistic   Yule's Q of "errs": 1 where they err together, 0 where errors are independent, -1 where never
                  together; NaN where a count that it needs is 0
    disagreement  share of the samples on which exactly one of the two errs
    """

    ratio_error: float
    q_statistic: float
    disagreement: float


def diversity(errs: Tensor) -> Diversity:
    """Diversity of the models that err so.

    errs  [models, rows] bool, True where a model is wrong; two models or more

    Raises ConfigError for fewer, for no rows, or another dtype.
    """
    if errs.ndim != 2 or errs.dtype != torch.bool or errs.shape[0] < 2 or not errs.shape[1]:
        raise ConfigError(f"errs: expected bool [models >= 2, rows >= 1], got {errs.dtype} {list(errs.shape)}.")
    both = single = neither = 0
    together = apart = 0  # of Q: products of counts, pair by pair
    for a, b in combinations(errs, 2):
        wrong, only_a, only_b = int((a & b).sum()), int((a & ~b).sum()), int((~a & b).sum())
        right = len(a) - wrong - only_a - only_b
        both, single, neither = both + wrong, single + only_a + only_b, neither + right
        together, apart = together + wrong * right, apart + only_a * only_b
    return Diversity(
        single / both if both else (math.inf if single else math.nan),
        (together - apart) / (together + apart) if together + apart else math.nan,
        single / (both + single + neither),
    )


@dataclass(frozen=True)
class Comparison:
    """Accuracies on the same rows, and how far the average's outputs are from the mean of the models'.

    average   of the one model whose weights are the mean
    ensemble  of the mean of the outputs
    mean      of single models, and `best` of them
    gap       mean over rows of the largest |output of the average - mean of outputs|
    """

    average: float
    ensemble: float
    mean: float
    best: float
    gap: float

    @property
    def gain(self) -> float:
        """What averaging gains over the mean of the models."""
        return self.average - self.mean


def compare(averaged: Tensor, outputs: Tensor, labels: Tensor) -> Comparison:
    """Averaging against ensembling.

    averaged  [rows, classes] outputs of the averaged weights: logits or probabilities, as those of the models
    outputs   [models, rows, classes]
    labels    [rows] int64
    """
    if (
        outputs.ndim != 3
        or averaged.shape != outputs.shape[1:]
        or labels.shape != averaged.shape[:1]
        or not len(labels)
    ):
        raise ConfigError(
            "outputs: expected [models, rows, classes] beside [rows, classes] and [rows] labels, got "
            f"{list(outputs.shape)}, {list(averaged.shape)} and {list(labels.shape)}."
        )
    mean = outputs.mean(0)
    single = (outputs.argmax(-1) == labels).double().mean(1)
    return Comparison(
        _accuracy(averaged, labels), _accuracy(mean, labels), float(single.mean()), float(single.max()),
        float((averaged - mean).abs().amax(-1).mean()),
    )  # fmt: skip


def _accuracy(outputs: Tensor, labels: Tensor) -> float:
    return float((outputs.argmax(-1) == labels).double().mean())


@dataclass(frozen=True)
class FirstOrder:
    """How the gap between averaging and ensembling falls when models are drawn towards their average.

    distances  root of the mean squared distance of the models from their average, at each scale
    gaps       mean over rows of the largest |output of the average - mean of outputs| there
    order      slope of log gap over log distance, by least squares: 2 where averaging is ensembling up to first order;
               NaN where a gap is 0, as it is everywhere for outputs that are linear in the weights
    """

    distances: tuple[float, ...]
    gaps: tuple[float, ...]
    order: float


def first_order(
    outputs: Callable[[Weights], Tensor], models: Sequence[Weights], scales: Sequence[float] = (1.0, 0.5, 0.25)
) -> FirstOrder:
    """Check that |f(average) - mean of f| = O(distance^2): measured, not assumed.

    outputs  weights -> [rows, classes]
    models   at a scale s they are average + s (model - average)
    """
    centre = average(models)
    target = outputs(centre)
    size = math.sqrt(sum(_squared_distance(model, centre) for model in models) / len(models))
    gaps = []
    for scale in scales:
        drawn = [average([centre, model], [1 - scale, scale]) for model in models]
        mean = torch.stack([outputs(one) for one in drawn]).mean(0)
        gaps.append(float((target - mean).abs().amax(-1).mean()))
    distances = tuple(size * scale for scale in scales)
    return FirstOrder(distances, tuple(gaps), _slope(distances, gaps))


def _squared_distance(a: Weights, b: Weights) -> float:
    """Of all floating-point tensors."""
    names = [name for name, one in a.items() if one.is_floating_point()]
    return sum(float((a[name].double() - b[name].double()).square().sum()) for name in names)


def _slope(x: Sequence[float], y: Sequence[float]) -> float:
    if len(x) < 2 or min(*x, *y) <= 0:
        return math.nan
    logs = torch.tensor([[math.log(a), math.log(b)] for a, b in zip(x, y, strict=True)], dtype=torch.float64)
    centred = logs - logs.mean(0)
    return float((centred[:, 0] * centred[:, 1]).sum() / centred[:, 0].square().sum())
