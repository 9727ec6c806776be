"""Stage 3 of BEST: the candidate that is most like the image, and those of its sentences that are like it enough."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError
from .sentences import split_sentences

__all__ = ["Filtered", "Selection", "Sentence", "cosines", "filter_sentences", "select", "split_sentences"]
SAME = 1e-12  # cosines this near are equal: what rescaling a vector in float64 changes is less


@dataclass(frozen=True)
class Selection:
    """The candidate that was chosen.

    index   its row
    scores  [candidates] float64: the cosine of each with the image
    """

    index: int
    scores: NDArray[np.float64]


@dataclass(frozen=True)
class Sentence:
    """A sentence of the chosen candidate.

    score   its cosine with the image
    kept    whether it stays
    reason  why or why not, in words
    """

    text: str
    score: float
    kept: bool
    reason: str


@dataclass(frozen=True)
class Filtered:
    """All sentences of a paragraph in their order, with what became of each.

    fell_back  none reached the threshold, and the best one stands alone
    """

    sentences: tuple[Sentence, ...]
    fell_back: bool = False

    @property
    def paragraph(self) -> str:
        """The sentences that stay, with a space between them."""
        return " ".join(sentence.text for sentence in self.sentences if sentence.kept)


def cosines(image_vector: Any, matrix: Any, what: str = "candidates") -> NDArray[np.float64]:
    """[rows] float64 in [-1, 1]: the cosine of each row with the image's vector, whatever their lengths are.

    image_vector  [dim] of numbers
    matrix        [rows, dim] of numbers
    what          names the rows in errors

    Raises ConfigError for other shapes and kinds, NaN and infinities, and rows of zeros, which point nowhere.
    """
    image, rows = _numbers(image_vector, "image vector", 1), _numbers(matrix, what, 2)
    if rows.shape[1] != len(image):
        raise ConfigError(
            f"{what}: expected {len(image)} columns as the image vector has, got {rows.shape[1]}. "
            "Take both from one encoder."
        )
    # one row at a time, so that equal rows have equal cosines: a product of matrices may round them differently
    products = np.einsum("ij,j->i", _directions(rows, what), _directions(image[None], "image vector")[0])
    return np.clip(products, -1, 1)


def select(image_vector: Any, candidate_matrix: Any) -> Selection:
    """The candidate of the highest cosine with the image, the first among equals.

    image_vector      [dim]
    candidate_matrix  [candidates, dim], one at least; lengths do not matter

    Raises ConfigError as cosines does, and for no candidates.
    """
    scores = cosines(image_vector, candidate_matrix)
    if not len(scores):
        raise ConfigError("candidates: expected at least one, got none. Ask the language model for some.")
    return Selection(int(np.argmax(scores >= scores.max() - SAME)), scores)


def filter_sentences(image_vector: Any, sentences: Sequence[str], vectors: Any, threshold: float) -> Filtered:
    """The sentences whose cosine with the image reaches the threshold; if none does, the best one alone.

    image_vector  [dim]
    sentences     of one paragraph, as split_sentences gives them; none give an empty paragraph
    vectors       [sentences, dim]
    threshold     -1 keeps all but repetitions, more than 1 keeps none

    A sentence that was said before goes, whatever its cosine; capitals, spaces and marks at its end do not count.
    Raises ConfigError as cosines does, for another number of vectors, and for a threshold that is no number.
    """
    if not np.isfinite(threshold):
        raise ConfigError(f"threshold: expected a number, such as 0.2, got {threshold}.")
    if not len(sentences):
        return Filtered(())
    scores = cosines(image_vector, vectors, "sentences' vectors")
    if len(scores) != len(sentences):
        raise ConfigError(f"sentences' vectors: expected {len(sentences)} rows, one a sentence, got {len(scores)}.")
    said: dict[str, int] = {}
    first = [said.setdefault(_plain(text), place) == place for place, text in enumerate(sentences)]
    fell_back = not any(new and score >= threshold for new, score in zip(first, scores, strict=True))
    best = int(np.argmax(np.where(first, scores, -np.inf)))
    found = []
    for place, (text, score) in enumerate(zip(sentences, scores.tolist(), strict=True)):
        kept = first[place] and (score >= threshold or (fell_back and place == best))
        if not first[place]:
            reason = f"repeats sentence {said[_plain(text)] + 1}"
        elif score >= threshold:
            reason = f"{score:.3f} reaches the threshold {threshold:g}"
        else:
            reason = f"{score:.3f} is below the threshold {threshold:g}"
            reason += ", as all are, and the best of them" if kept else ""
        found.append(Sentence(text, score, kept, reason))
    return Filtered(tuple(found), fell_back)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".!?…。！？ ")


def _numbers(values: Any, what: str, axes: int) -> NDArray[np.float64]:
    """float64 of so many axes. Raises ConfigError for anything else, for NaN and infinities."""
    wanted = "[dim]" if axes == 1 else "[rows, dim]"
    try:
        found = np.asarray(values)
        numbers = found.astype(np.float64)
    except (TypeError, ValueError):
        raise ConfigError(f"{what}: expected numbers {wanted}, got {type(values).__name__}. Embed again.") from None
    if found.dtype.kind not in "fiu" or found.ndim != axes or not found.shape[-1]:
        raise ConfigError(f"{what}: expected numbers {wanted}, got {list(found.shape)} of {found.dtype}.")
    if not np.isfinite(numbers).all():
        raise ConfigError(f"{what}: expected finite numbers, got NaN or infinity. Embed again.")
    return numbers


def _directions(rows: NDArray[np.float64], what: str) -> NDArray[np.float64]:
    """The rows at length 1, the largest number first brought to 1 so that no square overflows or vanishes."""
    largest = np.abs(rows).max(axis=1, keepdims=True)
    if (largest == 0).any():
        raise ConfigError(f"{what}: expected vectors of some length, got zeros (row {int(largest.argmin())}).")
    rows = rows / largest
    found: NDArray[np.float64] = rows / np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
    return found
