"""Greedy soups: models are added to an average, best first, as long as validation gains (Wortsman et al. 2022)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ..errors import ConfigError

Candidate = TypeVar("Candidate")
TIES = (">", ">=")


@dataclass(frozen=True)
class Trial:
    """An average that was scored.

    added    the candidate that was tried
    members  of the average, that one among them, in the order in which they were given
    score    of the average
    kept     whether it is the soup from then on
    """

    added: int
    members: tuple[int, ...]
    score: float
    kept: bool


@dataclass(frozen=True)
class Soup:
    """A greedy soup and how it came about.

    members  candidates that it is the uniform average of, in the order in which they were given
    score    of it, never worse than that of any candidate
    singles  score of each candidate alone
    trials   in the order in which they were made, the best candidate alone first
    """

    members: tuple[int, ...]
    score: float
    singles: tuple[float, ...]
    trials: tuple[Trial, ...]

    @property
    def best_single(self) -> float:
        """Score of the best candidate."""
        return self.trials[0].score


def greedy_soup(
    candidates: Sequence[Candidate],
    score: Callable[[Candidate], float],
    average: Callable[[Sequence[Candidate]], Candidate],
    *,
    tie: str = ">",
    lower_is_better: bool = False,
    told: Callable[[Trial], None] = lambda trial: None,
) -> Soup:
    """Choose what to average, by a score on held-out data; a candidate may be a folder, weights, or anything else.

    score            of a candidate or an average, higher is better; an average is scored right after it is made
    average          uniform, of two or more
    tie              whether a candidate stays whose average scores better (">", as model-soups), or not worse (">=", as
                     DiWA and Model Ratatouille)
    lower_is_better  of the score, such as a perplexity
    told             of each trial

    2 n - 1 scores for n candidates. NaN is worse than any number. Raises ConfigError if there is nothing to choose.
    """

    def score_of(members: tuple[int, ...]) -> float:
        chosen = [candidates[member] for member in members]
        return score(chosen[0] if len(chosen) == 1 else average(chosen))

    return choose(len(candidates), score_of, tie=tie, lower_is_better=lower_is_better, told=told)


def choose(
    count: int,
    score: Callable[[tuple[int, ...]], float],
    *,
    tie: str = ">",
    lower_is_better: bool = False,
    told: Callable[[Trial], None] = lambda trial: None,
) -> Soup:
    """The same for candidates that are numbers, and a score of the average of some, each asked for once."""
    if count < 1:
        raise ConfigError("candidates: expected at least one, got none.")
    if tie not in TIES:
        raise ConfigError(f"tie: expected > or >=, got {tie!r}.")

    def goodness(value: float) -> float:
        return -math.inf if math.isnan(value) else -value if lower_is_better else value

    singles = [float(score((number,))) for number in range(count)]
    if all(map(math.isnan, singles)):
        raise ConfigError("score: expected a number for one candidate at least, got NaN for all.")
    first, *others = sorted(range(count), key=lambda number: (-goodness(singles[number]), number))
    trials = [Trial(first, (first,), singles[first], True)]
    told(trials[0])
    members: tuple[int, ...] = (first,)
    best = singles[first]
    for number in others:
        tried = tuple(sorted((*members, number)))
        found = float(score(tried))
        better = goodness(found) > goodness(best) or (tie == ">=" and goodness(found) == goodness(best))
        trials.append(Trial(number, tried, found, better))
        told(trials[-1])
        if better:
            members, best = tried, found
    return Soup(members, best, tuple(singles), tuple(trials))
