"""What the command roboshot does: where directions come from, and each step beside zero-shot."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..language_model import LanguageModel
from .ask_insights import ask_for_insights
from .embedding_set import EmbeddingSet
from .files import read_embeddings, require_same_model
from .groups import GroupReport
from .insights import Insight, write_insights
from .predictions import count_groups, zero_shot_predictions
from .roboshot import Order, RoboShot


def asked_insights(
    model: LanguageModel, classes: Sequence[str], task: str, count: int, samples: int, out: Path | None, date: str
) -> tuple[tuple[Insight, ...], list[str]]:
    """Insights of a language model, written to `out` if that is given, and what a user should know."""
    temperature = 0.8 if samples > 1 else 0.0  # answers to one question must differ
    answers = ask_for_insights(model, classes, task, count=count, samples=samples, temperature=temperature, date=date)
    if out is not None:
        write_insights(out, answers.insights)
    notes = [f"{len(answers.insights)} insights of {model.name}"]
    if answers.unread:
        notes.append(f"{len(answers.unread)} lines were no pair of texts, such as {answers.unread[0][:60]!r}")
    return answers.insights, notes


def given_directions(path: Path | None, images: EmbeddingSet) -> Any:
    """Directions of a file of embeddings of the images' model; their lengths do not matter. None without a file."""
    if path is None:
        return None
    found = read_embeddings(path, normalise=True)
    require_same_model(images, found, ("images", str(path)))
    return found.vectors


def compare_steps(
    rows: EmbeddingSet,
    text: EmbeddingSet,
    reject: Any,
    accept: Any,
    *,
    order: Order = "reject_then_accept",
    rank_tol: float = 1e-5,
    adapted: RoboShot | None = None,
    train: EmbeddingSet | None = None,
) -> dict[str, GroupReport]:
    """Accuracy by group of zero-shot and of each step that there are directions for; {} without labels.

    adapted  a RoboShot whose rejected subspace was learnt, to stand beside
    train    rows whose groups weight the adjusted average
    """

    def report(vectors: Any) -> GroupReport:
        found = zero_shot_predictions(replace(rows, vectors=vectors), text)
        return found.report(None if train is None else count_groups(train, rows))

    if rows.labels is None or not (rows.labels >= 0).any():
        return {}
    found = {"zero-shot": report(rows.vectors)}
    some = {"reject": len(reject), "accept": len(accept), "both": min(len(reject), len(accept))}
    for name in [name for name, count in some.items() if count]:
        shot = RoboShot.fit(reject, accept, mode=name, order=order, rank_tol=rank_tol)  # type: ignore[arg-type]
        found[name] = report(shot.transform(rows.vectors))
    if adapted is not None:
        found["adapted"] = report(adapted.transform(rows.vectors))
    return found


def facts(shot: RoboShot, vectors: Any, unchanged: Any) -> dict[str, Any]:
    """What was rejected and accepted, for an audit, as JSON."""
    energy = shot.energy(vectors)
    return {
        "rank_reject": shot.rank_reject,
        "rank_accept": shot.rank_accept,
        "order": shot.order,
        "unchanged_rows": np.asarray(unchanged).tolist(),
        "rejected_energy": energy.rejected,
        "accepted_energy": energy.accepted,
        "energy_of_reject": energy.reject.tolist(),
        "energy_of_accept": energy.accept.tolist(),
    }
