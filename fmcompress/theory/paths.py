"""The category that edges generate under relations: paths, rewritten to a shortest one by Knuth-Bendix completion."""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from ..errors import TheoryError
from .category import FiniteCategory, Name, counted, listed, shown
from .tables import Ints, Tables

Word = tuple[int, ...]
MOST = 1000
EFFORT = 5000  # suffixes looked at in the completion for each morphism that is allowed


class Path(NamedTuple):
    """A morphism of `from_graph`: where it starts, and its edges in the order in which they are walked."""

    start: Any
    edges: tuple[Any, ...]


def from_graph(
    edges: Mapping[Any, tuple[Any, Any]],
    relations: Iterable[tuple[Sequence[Any], Sequence[Any]]] = (),
    objects: Iterable[Name] = (),
    *,
    most: int = MOST,
) -> FiniteCategory:
    """Paths of a graph, up to relations between paths. A morphism is the first of its shortest paths.

    edges      name -> (start, end); relations: pairs of paths, each the names of edges in the order in which they are
               walked, () for an identity; objects: those without edges, or all in the order that is wanted
    most       how many morphisms there may be

    Raises TheoryError for paths that do not hang together or do not go from one object to one, and when the category is
    infinite or larger than `most`: completion and listing then stop.
    """
    for edge, ends in edges.items():
        if len(ends) != 2:
            raise TheoryError(f"{shown(edge)}: expected where it starts and where it ends.", edge)
    names = list(dict.fromkeys([*listed(objects), *(one for ends in edges.values() for one in ends)]))
    number = {name: place for place, name in enumerate(names)}
    letters = {name: place for place, name in enumerate(edges)}
    start = [number[ends[0]] for ends in edges.values()]
    end = [number[ends[1]] for ends in edges.values()]
    rules = _Rules(most)
    for left, right in relations:
        pair = [_word(path, letters, start, end) for path in (left, right)]
        ends = {(start[word[0]], end[word[-1]]) for word in pair if word}
        if len(ends) > 1 or (not all(pair) and any(a != b for a, b in ends)):
            told = f"{shown(tuple(left))} and {shown(tuple(right))} do not join the same two objects"
            raise TheoryError(f"relations: {told}. Mend one of them.", tuple(left), tuple(right))
        rules.join(*pair)
    rules.complete()
    return _category(names, list(edges), start, end, rules, most)


class _Rules:
    """Words that are replaced by smaller ones: shorter, or as long and earlier."""

    def __init__(self, most: int) -> None:
        self._rules: dict[Word, Word] = {}
        self._lengths: list[int] = []
        self._waiting: list[tuple[int, Word, Word]] = []
        self._left = EFFORT * most

    def join(self, left: Word, right: Word) -> None:
        heapq.heappush(self._waiting, (max(len(left), len(right)), left, right))

    def normal(self, word: Word) -> Word:
        """The word to which nothing more applies; always the same one once `complete` has run."""
        done: list[int] = []
        left = list(reversed(word))
        while left:
            done.append(left.pop())
            for length in self._lengths:
                if length > len(done):
                    break
                self._left -= 1
                smaller = self._rules.get(tuple(done[-length:]))
                if smaller is not None:
                    del done[-length:]
                    left += reversed(smaller)
                    break
        return tuple(done)

    def complete(self) -> None:
        """Add rules until any two ways to rewrite a word meet."""
        while self._waiting:
            _, left, right = heapq.heappop(self._waiting)
            small, large = sorted((self.normal(left), self.normal(right)), key=lambda word: (len(word), word))
            if self._left < 0:
                told = f"they have not closed after {counted(len(self._rules), 'rule')}"
                raise TheoryError(f"relations: {told}. Add relations, or allow more with most=.")
            if small != large:
                self._add(large, small)

    def _add(self, large: Word, small: Word) -> None:
        size = len(large)
        for known in list(self._rules):
            if any(known[begin : begin + size] == large for begin in range(len(known) - size + 1)):
                self.join(known, self._rules.pop(known))
        self._rules[large] = small
        self._lengths = sorted({len(known) for known in self._rules})
        for known, smaller in list(self._rules.items()):
            for first, then, follower, after in ((large, small, known, smaller), (known, smaller, large, small)):
                for shared in range(1, min(len(first), len(follower))):
                    if first[-shared:] == follower[:shared]:
                        self.join(then + follower[shared:], first[:-shared] + after)


def _word(path: Sequence[Any], letters: Mapping[Any, int], start: list[int], end: list[int]) -> Word:
    for edge in path:
        if edge not in letters:
            raise TheoryError(f"relations: {shown(edge)} is no edge. Add it to the edges.", edge)
    word = tuple(letters[edge] for edge in path)
    for one, following in pairwise(word):
        if end[one] != start[following]:
            raise TheoryError(f"relations: {shown(tuple(path))} is no path. Mend the order of its edges.", tuple(path))
    return word


def _category(
    names: list[Any], edges: list[Any], start: list[int], end: list[int], rules: _Rules, most: int
) -> FiniteCategory:
    words: list[tuple[int, Word]] = [(one, ()) for one in range(len(names))]
    at = list(range(len(names)))  # where each path ends
    step = np.zeros((0, len(edges)), np.int64)
    steps: list[list[int]] = []
    number = {word: place for place, word in enumerate(words)}
    for place, (begin, word) in enumerate(words):  # grows on the way; shorter paths come first
        row = [-1] * len(edges)
        for edge in range(len(edges)):
            if start[edge] == at[place]:
                following = begin, rules.normal((*word, edge))
                if following not in number:
                    number[following] = len(words)
                    words.append(following)
                    at.append(end[edge])
                row[edge] = number[following]
        steps.append(row)
        if len(words) > most:
            told = f"expected at most {most} paths, and there are more"
            raise TheoryError(f"relations: {told}. Add relations, or allow more with most=.")
    step = np.array(steps, np.int64).reshape(len(words), len(edges))

    def block(_: int, out: Ints, into: Ints) -> list[Ints]:
        rows: dict[Word, Ints] = {(): into}
        for place in out:
            word = words[place][1]
            if word:  # its beginning is a shortest path, too, and was listed before
                rows[word] = step[rows[word[:-1]], word[-1]]
        return [rows[words[place][1]] for place in out]

    morphisms = [Path(names[begin], tuple(edges[edge] for edge in word)) for begin, word in words]
    tables = Tables.build([begin for begin, _ in words], at, np.arange(len(names)), block)
    return FiniteCategory.of_tables(names, morphisms, tables)
