"""Things and what they are kinds of: an order, checked, with all that follows from its edges."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, in_one_line
from .text_tables import SEPARATORS, read_rows

MOST_OBJECTS = 5_000  # a few bytes a pair


@dataclass(frozen=True)
class Hierarchy:
    """A finite order: below[x, y] says that x is y or a kind of it.

    objects  names, in the order in which the edges name them
    below    [objects, objects] bool, reflexive and transitive; without two objects below each other, unless that
             was asked for
    """

    objects: tuple[str, ...]
    below: NDArray[np.bool_]

    @classmethod
    def from_edges(cls, edges: Iterable[tuple[str, str]], *, equivalent: bool = False) -> "Hierarchy":
        """The order that edges (child, parent) generate.

        equivalent  objects on a cycle are equivalent, of identical features; without it a cycle is an error

        Raises ConfigError, in one line, for a cycle (which it names), an edge from an object to itself, and no edges.
        """
        number: dict[str, int] = {}
        above: dict[int, list[int]] = {}
        for child, parent in edges:
            ends = [number.setdefault(_checked(name), len(number)) for name in (child, parent)]
            if ends[0] == ends[1] and not equivalent:
                raise ConfigError(f"hierarchy: {child!r} is its own parent. Leave that edge out.")
            above.setdefault(ends[0], []).append(ends[1])
        if not number:
            raise ConfigError("hierarchy: expected edges of a child and a parent, got none.")
        if len(number) > MOST_OBJECTS:
            raise ConfigError(f"hierarchy: expected at most {MOST_OBJECTS} objects, got {len(number)}.")
        names = tuple(number)
        order, cycle = _parents_first(above, len(names))
        if cycle and not equivalent:
            told = " < ".join(repr(names[at]) for at in [*cycle[:8], *(cycle[-1:] if len(cycle) > 8 else [])])
            raise ConfigError(
                f"hierarchy: {in_one_line(told)} is a cycle of {len(cycle) - 1}. Remove an edge, or say with "
                "--equivalent that what is on a cycle has identical features."
            )
        below = np.eye(len(names), dtype=bool)
        again = True
        while again:  # once where there is no cycle
            before = int(below.sum()) if cycle else -1
            for at in order:
                for one in above.get(at, ()):
                    below[at] |= below[one]
            again = bool(cycle) and int(below.sum()) != before
        return cls(names, below)


def read_hierarchy(path: str | Path, *, equivalent: bool = False) -> Hierarchy:
    """A hierarchy of a file of edges; see Hierarchy.from_edges.

    .csv, .tsv  two columns: child, then parent; a first line "child, parent" is no edge
    .json       {"child": "parent", "child": ["parent", …], …}, or a list of pairs

    Raises ConfigError for anything else.
    """
    path = Path(path)
    try:
        return Hierarchy.from_edges(_edges(path), equivalent=equivalent)
    except ConfigError as error:
        raise ConfigError(str(error) if str(error).startswith(f"{path}:") else f"{path}: {error}") from None


def _edges(path: Path) -> list[tuple[str, str]]:
    if path.suffix in SEPARATORS:
        rows = read_rows(path)
        if len(rows[0]) != 2:
            raise ConfigError(f"{path}: expected two columns, child and parent, got {len(rows[0])}.")
        titled = [cell.lower() for cell in rows[0]] == ["child", "parent"]
        return [(row[0], row[1]) for row in rows[titled:]]
    if path.suffix != ".json":
        raise ConfigError(f"{path}: expected a hierarchy as .csv, .tsv or .json.")
    from ..clip.lists import read_json

    given = read_json(path)
    pairs: list[Any] = given if isinstance(given, list) else []
    for child, parents in given.items() if isinstance(given, dict) else ():
        pairs += [[child, parent] for parent in (parents if isinstance(parents, list) else [parents])]
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(name, str) for name in pair):
            told = in_one_line(repr(pair), 80)
            raise ConfigError(f"{path}: expected pairs of names, child and parent, got {told}.")
    return [(child.strip(), parent.strip()) for child, parent in pairs]


def _checked(name: str) -> str:
    if not isinstance(name, str) or not name:
        raise ConfigError(f"hierarchy: expected names of a child and a parent, got {in_one_line(repr(name), 80)}.")
    return name


def _parents_first(above: dict[int, list[int]], count: int) -> tuple[list[int], list[int]]:
    """Objects such that parents stand before their children, and a cycle, if there is one, whose ends are the same."""
    order: list[int] = []
    cycle: list[int] = []
    state = [0] * count  # 1 while on the path, 2 when done
    for start in range(count):
        path, todo = [start], [iter(above.get(start, ()))]
        if state[start]:
            continue
        state[start] = 1
        while path:
            parent = next(todo[-1], None)
            if parent is None:
                state[path[-1]] = 2
                order.append(path.pop())
                todo.pop()
            elif state[parent] == 0:
                state[parent] = 1
                path.append(parent)
                todo.append(iter(above.get(parent, ())))
            elif state[parent] == 1 and not cycle:
                cycle = [*path[path.index(parent) :], parent]
    return order, cycle
