"""Whether one prompt solves a task, several do, only fine-tuning, or nothing: our own, after Yuan's theorems 1 and 2.

The paper speaks of exact functors; similarities in [0, 1], tolerances and the OR of prompts are our extension of it.
"""

from dataclasses import replace
from math import comb
from typing import Any

import numpy as np

from ..errors import ConfigError
from .calibration import Mask, calibrated, in_unit_range, is_unit, resolution_of, thresholds
from .collapse import Groups, collapse_of, identical_groups
from .covers import best_cover, greedy_covers, smallest_cover
from .findings import Diagnosis, Settings, Step, TaskDiagnosis
from .prompt_measures import functoriality, measure_prompts
from .reasons import reason
from .score_files import Matrix, Scores
from .separation import generalisation, separate
from .tasks import Labels
from .verdicts import FINE_TUNING, NOTHING, ONE_PROMPT, SEVERAL

MOST_PROMPTS = 5


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
