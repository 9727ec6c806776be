"""Texts find images and videos and are found by them: by embeddings, the best again by the alignment decoder."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...clip.vectors import Matrix
from ...errors import ConfigError
from .loaded import Medium, OmniVL, Progress, silent

AT = (1, 5, 10)


@dataclass(frozen=True)
class Scores:
    """How well texts and media fit; a higher score is better.

    cosines        [texts, media] of embeddings
    text_to_media  [texts, media] the same, and for the best media of each text what the alignment decoder adds
    media_to_text  [media, texts] likewise for the best texts of each image or video
    """

    cosines: Matrix
    text_to_media: Matrix
    media_to_text: Matrix


@dataclass(frozen=True)
class Recall:
    """What queries find.

    queries      how many
    at           of 1, 5 and 10: the share of queries with a right answer among so many best
    median_rank  of the best right answer of each query; 1 is the first place
    """

    queries: int
    at: dict[int, float]
    median_rank: float


def score(
    model: OmniVL, texts: Sequence[str], media: Sequence[Medium], *, rerank: int = 0, progress: Progress = silent
) -> Scores:
    """Scores of all texts with all media.

    rerank  of each query so many answers of the highest cosine are looked at by the alignment decoder, too, and the
            probability in [0, 1] that both match is added to their cosine. None of the others can pass them, as their
            cosine is no higher. The sum is our formulation: BLIP's code adds the logit to the similarity, ALBEF's
            ranks by the logit alone, the paper names none.

    Memory: matrices of texts x media. Raises CalibrationError for a file that cannot be read.
    """
    if rerank < 0:
        raise ConfigError(f"rerank: expected 0 or more, got {rerank}.")
    cosines = model.embed_texts(texts) @ model.embed_media(media, progress).T
    if not rerank:
        return Scores(cosines, cosines, cosines.T)
    of_texts, of_media = _best(cosines, rerank), _best(cosines.T, rerank)
    matching = _matching(model, texts, media, of_texts | of_media.T, progress)
    return Scores(cosines, cosines + matching * of_texts, (cosines + matching * of_media.T).T)


def _best(scores: Matrix, count: int) -> NDArray[np.bool_]:
    """[queries, items]: the `count` highest of each row, of equal ones the first."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    chosen = np.zeros(scores.shape, bool)
    np.put_along_axis(chosen, order, True, axis=1)
    return chosen


@torch.inference_mode()
def _matching(
    model: OmniVL, texts: Sequence[str], media: Sequence[Medium], wanted: NDArray[np.bool_], progress: Progress
) -> Matrix:
    """[texts, media]: the probability that both match, where it is wanted, else 0."""
    found = np.zeros(wanted.shape, np.float32)
    for rows, seen in model.seen(media, progress):
        asked = [(text, place) for place, row in enumerate(rows) for text in np.flatnonzero(wanted[:, row]).tolist()]
        for begin in range(0, len(asked), model.batch_size):
            some = asked[begin : begin + model.batch_size]
            ids, mask = model.tokens([texts[text] for text, _ in some])
            states = seen.last_hidden_state[[place for _, place in some]]
            chance = model.model.match(ids, mask, states).float().softmax(dim=-1)[:, 1].cpu().numpy()
            found[[text for text, _ in some], [rows[place] for _, place in some]] = chance
    return found


def recall(scores: Matrix, right: Any, at: Sequence[int] = AT) -> Recall:
    """What queries find by scores, where each may have several right answers.

    scores  [queries, items]
    right   [queries, items] bool; each query needs one

    A rank is 1 and the number of wrong items that score as high or higher: equal scores are of no help. Raises
    ConfigError for shapes that differ, or a query without right answer.
    """
    right = np.asarray(right, bool)
    if scores.ndim != 2 or right.shape != scores.shape:
        raise ConfigError(f"right: expected {list(scores.shape)} as of the scores, got {list(right.shape)}.")
    if not len(right) or not right.any(axis=1).all():
        raise ConfigError("right: expected a right answer for each query.")
    best = np.where(right, scores, -np.inf).max(axis=1, keepdims=True)
    ranks = 1 + ((scores >= best) & ~right).sum(axis=1)
    return Recall(len(ranks), {k: float((ranks <= k).mean()) for k in at}, float(np.median(ranks)))


def both_recalls(scores: Scores, right: Any, at: Sequence[int] = AT) -> dict[str, Recall]:
    """Of both directions, by name; with re-ranking also without it. right [texts, media] bool, see recall()."""
    right = np.asarray(right, bool)
    found = {
        "text to media": recall(scores.cosines, right, at),
        "media to text": recall(scores.cosines.T, right.T, at),
    }
    if scores.text_to_media is not scores.cosines:
        found["text to media, re-ranked"] = recall(scores.text_to_media, right, at)
        found["media to text, re-ranked"] = recall(scores.media_to_text, right.T, at)
    return found
