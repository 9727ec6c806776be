"""A diagnosis as JSON values."""

from dataclasses import asdict
from typing import Any

import numpy as np

from .covers import Cover
from .findings import Diagnosis, TaskDiagnosis
from .order_diagnosis import OrderDiagnosis

MOST_PROMPTS = 20  # that are listed by AUC


def facts_of(found: Diagnosis) -> dict[str, Any]:
    """Everything but the scores; of prompts by themselves the first 20 by AUC, of identical pairs the first 100."""
    return {
        "level": "scores",
        "verdict": found.verdict,
        "objects": len(found.scores.values),
        "unknown": found.labels.unknown,
        "prompts": len(found.scores.prompts),
        "settings": asdict(found.settings),
        "tasks": [_task(found, task) for task in found.tasks],
    }


def order_facts_of(found: OrderDiagnosis) -> dict[str, Any]:
    """The diagnosis over a hierarchy; of equivalent pairs the first 100."""
    tasks = [
        {
            **asdict(task),
            "prompts": list(task.prompts),
            "violation": list(task.violation) if task.violation else None,
            "equivalent": list(map(list, task.equivalent)),
        }
        for task in found.tasks
    ]
    return {
        "level": "hierarchy",
        "verdict": found.verdict,
        "objects": len(found.hierarchy.objects),
        "unknown": found.labels.unknown,
        "tasks": tasks,
    }


def _task(found: Diagnosis, task: TaskDiagnosis) -> dict[str, Any]:
    names = found.scores.prompts
    residual = None
    if task.residual is not None:
        value, one, other = task.residual
        residual = {"value": value, "object": found.object_name(one), "alike": found.object_name(other)}
    return {
        "name": task.name,
        "verdict": task.verdict,
        "reason": task.reason,
        "positives": task.positives,
        "negatives": task.negatives,
        "prompts": [names[at] for at in task.prompts],
        "fewest": task.fewest,
        "best_prompt": _prompt(found, task, task.best),
        "error": task.error,
        "by_chance": task.by_chance,
        "curve": [
            {"prompts": size, "greedy": _cover(found, step.greedy), "exact": _cover(found, step.exact)}
            for size, step in enumerate(task.curve, 1)
        ],
        "by_auc": [
            _prompt(found, task, int(at)) for at in np.argsort(-task.measures.auc, kind="stable")[:MOST_PROMPTS]
        ],
        "functoriality_residual": residual,
        "identical": {
            "pairs": task.collapse.pairs,
            "bitwise": task.collapse.bitwise,
            "tolerance": task.collapse.tolerance,
            "least_wrong": task.collapse.least_wrong,
            "listed": [[found.object_name(place) for place in pair] for pair in task.collapse.listed],
        },
        "fine_tuning": {**asdict(task.separation), **asdict(task.generalisation)},
    }


def _prompt(found: Diagnosis, task: TaskDiagnosis, at: int) -> dict[str, Any]:
    each = task.measures
    return {
        "name": found.scores.prompts[at],
        "auc": float(each.auc[at]),
        "margin": float(each.margin[at]),
        "accuracy": float(each.accuracy[at]),
        "threshold": float(each.threshold[at]),
    }


def _cover(found: Diagnosis, cover: Cover | None) -> dict[str, Any] | None:
    if cover is None:
        return None
    return {"names": [found.scores.prompts[at] for at in cover.prompts], "error": cover.error, "wrong": cover.wrong}
