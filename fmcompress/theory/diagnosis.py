"""Whether one prompt solves a task, several do, only fine-tuning, or nothing: our own, after Yuan's theorems 1 and 2.

The paper speaks of exact functors; similarities in [0, 1], tolerances and the OR of prompts are our extension of it.
"""

from dataclasses import dataclass, replace
from math import comb
from typing import Any

import numpy as np

from ..errors import ConfigError
from .calibration import Mask, calibrated, in_unit_range, is_unit, resolution_of, thresholds
from .collapse import Collapse, Groups, collapse_of, identical_groups
from .covers import Cover, best_cover, greedy_covers, smallest_cover
from .prompt_measures import PromptMeasures, functoriality, measure_prompts
from .reasons import reason
from .score_files import Matrix, Scores
from .separation import Generalisation, Separation, generalisation, separate
from .tasks import Labels
from .verdicts import FINE_TUNING, NOTHING, ONE_PROMPT, SEVERAL, hardest

HALF = float(np.nextafter(0.5, 0))  # off by less than one half: on the right side
MOST_PROMPTS = 5


@dataclass(frozen=True)
class Settings:
    """What diagnose() was asked for, and what it took.

    prompts, calibration, tolerance, resolution, seed  as of diagnose(); none of them None
    square   whether columns are the rows' objects
    residual_values  what the functoriality residual is of: "as given", or "range" where scores were not in [0, 1]
    """

    prompts: int
    calibration: str
    tolerance: float
    resolution: float
    seed: int
    square: bool = False
    residual_values: str = "as given"

    @property
    def limit(self) -> float:
        """How far an object that is right may be off."""
        return min(self.tolerance, HALF)


@dataclass(frozen=True)
class Step:
    """The error of so many prompts: greedily, and exactly where that could be searched (else None)."""

    greedy: Cover | None
    exact: Cover | None


@dataclass(frozen=True)
class TaskDiagnosis:
    """One class against the rest, on the objects whose label is known.

    verdict, reason  one of "one prompt", "k prompts", "fine-tuning", "nothing"; and why, in a sentence
    positives, negatives  how many objects are of the task and how many are not
    prompts          numbers of the prompts whose OR solves it; none where none was found
    fewest           whether no fewer prompts do; where there are none, whether it is certain that none do
    best             the prompt of the least error, of several that of the greatest AUC, then the first
    error            eps*, that prompt's: the largest distance of a calibrated score from its label
    by_chance        how many of these prompts would part the task from the rest if their scores were random
    measures         of each prompt by itself
    cuts             [prompts]: the threshold at which each says yes to no object that is not of the task
    curve            for 1, 2, … prompts: the least error found
    residual         of functoriality, and the places of the two objects; None unless the scores are square
    """

    name: str
    verdict: str
    reason: str
    positives: int
    negatives: int
    prompts: tuple[int, ...]
    fewest: bool
    best: int
    error: float
    by_chance: float
    measures: PromptMeasures
    cuts: Matrix
    curve: tuple[Step, ...]
    collapse: Collapse
    separation: Separation
    generalisation: Generalisation
    residual: tuple[float, int, int] | None


@dataclass(frozen=True)
class Diagnosis:
    """All tasks of a labelling. `rows` are the objects that have a label; places of objects in `tasks` are in it."""

    scores: Scores
    labels: Labels
    rows: Any
    tasks: tuple[TaskDiagnosis, ...]
    settings: Settings

    @property
    def verdict(self) -> str:
        """That of the hardest task."""
        return hardest(task.verdict for task in self.tasks)

    def object_name(self, place: int) -> str:
        """What to call an object of `rows`."""
        return self.scores.object_name(int(self.rows[place]))


def diagnose(
    scores: Scores,
    labels: Labels,
    *,
    prompts: int = MOST_PROMPTS,
    calibration: str = "prompt",
    tolerance: float = 0.5,
    resolution: float | None = None,
    square: bool | None = None,
    seed: int = 0,
) -> Diagnosis:
    """Diagnose each class of some labels against the rest. Equal inputs give equal answers.

    prompts      the most whose OR counts as a solution
    calibration  see calibration.calibrated
    tolerance    an object is right if its calibrated score is off its label by at most this, and by less than 1/2
    resolution   scores that differ by at most this are the same number; 1e-6 of the largest by default
    square       whether columns are the rows' objects, in this order; by default they are where names say so
    seed         of the folds of the cross-validation

    Raises ConfigError for what cannot be meant.
    """
    if len(labels.numbers) != len(scores.values):
        raise ConfigError(f"labels: expected {len(scores.values)}, one an object, got {len(labels.numbers)}.")
    if prompts < 1:
        raise ConfigError(f"prompts: expected at least 1, got {prompts}.")
    if not 0 <= tolerance <= 0.5:
        raise ConfigError(f"tolerance: expected a number from 0 to 0.5, got {tolerance}.")
    same = resolution_of(scores.values) if resolution is None else resolution
    if not 0 <= same < np.inf:
        raise ConfigError(f"resolution: expected a number from 0, got {resolution}.")
    columns, rows = _columns(scores, square), np.flatnonzero(labels.numbers >= 0)
    values, given = scores.values[rows], is_unit(scores.values)
    unit = scores.values if given else in_unit_range(scores.values)
    table = unit[np.ix_(rows, columns[rows])] if columns is not None else None
    kind = "as given" if given else "range"
    settings = Settings(prompts, calibration, tolerance, same, seed, columns is not None, kind)
    groups = identical_groups(values, same)
    tasks = [_one_task(name, values, found[rows], groups, table, settings) for name, found in labels.tasks()]
    found = Diagnosis(scores, labels, rows, tuple(tasks), settings)
    return replace(found, tasks=tuple(replace(task, reason=reason(found, task)) for task in tasks))


def _columns(scores: Scores, square: bool | None) -> Any:
    """[objects]: the column of each row's object, or None."""
    rows, columns = scores.values.shape
    if square is False:
        return None
    if scores.objects and set(scores.objects) == set(scores.prompts):
        place = {name: at for at, name in enumerate(scores.prompts)}
        return np.array([place[name] for name in scores.objects])
    if not square:
        return None
    if rows != columns:
        raise ConfigError(f"scores: expected a square matrix, objects by objects, got {rows} by {columns}.")
    return np.arange(rows)


def _one_task(
    name: str, values: Matrix, positive: Mask, groups: Groups, table: Matrix | None, settings: Settings
) -> TaskDiagnosis:
    same = settings.resolution
    unit = calibrated(values, positive, settings.calibration, same)
    measures = measure_prompts(values, positive)
    off = np.where(positive[:, None], 1 - unit, unit).max(axis=0)
    best = int(np.lexsort((-measures.auc, off))[0])
    curve = _curve(unit, positive, settings)
    chosen, fewest = ((best,), True) if off[best] <= settings.limit else _solution(unit, positive, curve, settings)
    collapse = collapse_of(values, positive, groups, same)
    by_prompts = ONE_PROMPT if len(chosen) == 1 else SEVERAL if chosen else FINE_TUNING
    counts = int(positive.sum()), int((~positive).sum())
    return TaskDiagnosis(
        name=name,
        verdict=NOTHING if collapse.pairs else by_prompts,
        reason="",
        positives=counts[0],
        negatives=counts[1],
        prompts=chosen,
        fewest=fewest,
        best=best,
        error=float(off[best]),
        by_chance=values.shape[1] / comb(sum(counts), counts[0]),
        measures=measures,
        cuts=thresholds(values, positive, same),
        curve=curve,
        collapse=collapse,
        separation=separate(values, positive, same),
        generalisation=generalisation(values, positive, seed=settings.seed),
        residual=functoriality(table, positive) if table is not None else None,
    )


def _curve(unit: Matrix, positive: Mask, settings: Settings) -> tuple[Step, ...]:
    greedy = greedy_covers(unit, positive, settings.prompts, settings.limit)
    steps: list[Step] = []
    known = 1.0
    for size in range(1, min(settings.prompts, unit.shape[1]) + 1):
        one = greedy[size - 1] if size <= len(greedy) else None
        known = min(known, one.error if one else known)
        exact = best_cover(unit, positive, size, settings.limit, known)
        known = min(known, exact.error if exact else known)
        steps.append(Step(one, exact))
    return tuple(steps)


def _solution(
    unit: Matrix, positive: Mask, curve: tuple[Step, ...], settings: Settings
) -> tuple[tuple[int, ...], bool]:
    """The fewest prompts that are right, of least error where the curve has them; and whether that is certain."""
    allowed = np.flatnonzero(unit[~positive].max(axis=0) <= settings.limit)
    sets = 1 - unit[np.ix_(positive, allowed)] <= settings.limit
    found, fewest = smallest_cover(sets, settings.prompts)
    if found is None:
        return (), fewest
    exact = curve[len(found) - 1].exact
    return exact.prompts if exact else tuple(int(allowed[at]) for at in found), fewest
