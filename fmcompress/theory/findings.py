"""What a diagnosis finds: of each task, and of all of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .collapse import Collapse
from .covers import Cover
from .prompt_measures import PromptMeasures
from .score_files import Matrix, Scores
from .separation import Generalisation, Separation
from .tasks import Labels
from .verdicts import hardest

HALF = float(np.nextafter(0.5, 0))  # off by less than one half: on the right side


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
