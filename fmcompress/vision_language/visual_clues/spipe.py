"""SPIPE (Xie et al. 2022): how much of a human's scene graph a text tells, and how much of what it tells is there.

Built from the paper's description; no official code exists. SPICE (Anderson et al. 2016) compares a caption's graph
with one that is parsed from reference captions; SPIPE with a graph that a human drew, as in Visual Genome.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import ConfigError
from .scene_graph import Fact, SceneGraph
from .words import lemma_of_attribute, lemma_of_object, lemma_of_relation

Synonyms = Mapping[str, Iterable[str]] | Iterable[Iterable[str]]
_LEMMAS = {
    1: (lemma_of_object,),
    2: (lemma_of_object, lemma_of_attribute),
    3: (lemma_of_object, lemma_of_relation, lemma_of_object),
}


@dataclass(frozen=True)
class Spipe:
    """Two graphs' tuples against each other; all words in their base forms.

    precision  share of what was predicted that is matched
    recall     share of the human's tuples that are matched
    f1         their harmonic mean
    matched    pairs (predicted, gold)
    missed     of the human's, told by nobody
    extra      predicted, and not there
    """

    precision: float
    recall: float
    f1: float
    matched: tuple[tuple[Fact, Fact], ...]
    missed: tuple[Fact, ...]
    extra: tuple[Fact, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1,
            "matched": [[list(predicted), list(gold)] for predicted, gold in self.matched],
            "missed": [list(fact) for fact in self.missed],
            "extra": [list(fact) for fact in self.extra],
        }


def spipe(predicted: SceneGraph, gold: SceneGraph, synonyms: Synonyms | None = None) -> Spipe:
    """Precision, recall and F1 over two graphs' tuples: objects, (object, attribute), (subject, relation, object).

    predicted  of the description, as parse_graph gives it
    gold       a human's
    synonyms   groups of words that mean the same, or word -> words that mean the same; they say nothing of words that
               have another in common. Default none

    Two tuples match if they are equally long and all their words are the same or synonyms, each in its base form. Each
    is matched once at the most, and as many as possible are. Two graphs without tuples have F1 1; of one and none it
    is 0. Raises ConfigError for synonyms of another form.
    """
    groups = _groups(synonyms)
    found, wanted = facts_of(predicted), facts_of(gold)
    matches = [[place for place, other in enumerate(wanted) if _same(fact, other, groups)] for fact in found]
    partner = _matching(matches)
    precision, recall = (
        len(partner) / len(some) if some else float(not other) for some, other in ((found, wanted), (wanted, found))
    )
    told = set(partner.values())
    return Spipe(
        precision,
        recall,
        2 * precision * recall / (precision + recall) if partner else float(not found and not wanted),
        tuple((found[fact], wanted[place]) for place, fact in sorted(partner.items(), key=lambda pair: pair[1])),
        tuple(fact for place, fact in enumerate(wanted) if place not in partner),
        tuple(fact for place, fact in enumerate(found) if place not in told),
    )


def mean_of(found: Sequence[Spipe]) -> dict[str, float]:
    """The means over images, each counting once: precision, recall, f1."""
    return {name: sum(getattr(one, name) for one in found) / len(found) for name in ("precision", "recall", "f1")}


def facts_of(graph: SceneGraph) -> list[Fact]:
    """A graph's tuples with all words in their base forms, each once, in order."""
    return list(
        dict.fromkeys(
            tuple(lemma(word) for lemma, word in zip(_LEMMAS[len(fact)], fact, strict=True)) for fact in graph.facts
        )
    )


def _same(fact: Fact, other: Fact, groups: Mapping[str, frozenset[int]]) -> bool:
    nothing: frozenset[int] = frozenset()
    return len(fact) == len(other) and all(
        word == that or groups.get(word, nothing) & groups.get(that, nothing)
        for word, that in zip(fact, other, strict=True)
    )


def _groups(synonyms: Synonyms | None) -> dict[str, frozenset[int]]:
    """Every word in its base forms -> the numbers of the groups that it is in. Raises ConfigError for another form."""
    told = "synonyms: expected lists of words, or word -> list of words"
    given = (
        [[word, *_words(words, told)] for word, words in synonyms.items()]
        if isinstance(synonyms, Mapping)
        else synonyms
    )
    if isinstance(given, str) or not isinstance(given, Iterable | None):
        raise ConfigError(f"{told}, got {type(given).__name__}.")
    found: dict[str, set[int]] = {}
    for number, group in enumerate(given or ()):
        for word in _words(group, told):
            for lemma in (lemma_of_object, lemma_of_attribute, lemma_of_relation):
                found.setdefault(lemma(word), set()).add(number)
    return {word: frozenset(numbers) for word, numbers in found.items()}


def _words(group: Any, told: str) -> list[str]:
    words = [] if isinstance(group, str) or not isinstance(group, Iterable) else list(group)
    if not words or not all(isinstance(word, str) and word.strip() for word in words):
        raise ConfigError(f"{told}, got {group!r}.")
    return words


def _matching(matches: Sequence[Sequence[int]]) -> dict[int, int]:
    """place -> fact of a matching with as many pairs as there can be.

    matches  of each fact the places that it may have

    Each fact in turn takes a free place, or one whose fact can move to another (Berge's augmenting paths), which are
    looked for breadth first, so that a long one needs no deep stack.
    """
    of_place: dict[int, int] = {}
    for start in range(len(matches)):
        came_from: dict[int, int] = {}  # place -> the fact that would take it
        waiting, end = [start], None
        while waiting and end is None:
            fact = waiting.pop(0)
            for place in matches[fact]:
                if place not in came_from:
                    came_from[place] = fact
                    if place not in of_place:
                        end = place
                        break
                    waiting.append(of_place[place])
        of_fact = {fact: place for place, fact in of_place.items()}
        while end is not None:  # back along the path, each fact to its new place
            fact = came_from[end]
            before = of_fact.get(fact)
            of_place[end] = fact
            end = before
    return of_place
