"""Categories made of simpler things: sets, orders, monoids, group actions, and other categories."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import TheoryError
from .category import FiniteCategory, Name, listed, shown
from .tables import Ints, Tables


def discrete(objects: Iterable[Name]) -> FiniteCategory:
    """Objects and their identities, of the same names, alone."""
    names = listed(objects)
    every = np.arange(len(names))
    return FiniteCategory.of_tables(names, names, Tables.build(every, every, every, lambda middle, *_: middle))


def from_poset(relations: Iterable[tuple[Any, Any]], objects: Iterable[Name] = ()) -> FiniteCategory:
    """A partial order as a category: one morphism (lower, upper) for each lower <= upper.

    relations  pairs (lower, upper); what follows from them by reflexivity and transitivity is added
    objects    those that stand in no pair, or all in the order that is wanted

    Raises TheoryError for a cycle, whose objects it names.
    """
    pairs = [tuple(pair) for pair in listed(relations)]
    names = list(dict.fromkeys([*listed(objects), *(name for pair in pairs for name in pair)]))
    number = {name: place for place, name in enumerate(names)}
    above: list[list[int]] = [[] for _ in names]
    for lower, upper in pairs:
        if lower != upper:
            above[number[lower]].append(number[upper])
    reached = np.eye(len(names), dtype=bool)
    for one in _from_the_top(above, names):
        for upper in above[one]:
            reached[one] |= reached[upper]
    lower, upper = np.nonzero(reached)
    arrow = np.full(reached.shape, -1, np.int64)
    arrow[lower, upper] = np.arange(len(lower))

    def block(_: int, out: Ints, into: Ints) -> Ints:
        return arrow[lower[into][None, :], upper[out][:, None]]

    tables = Tables.build(lower, upper, np.diagonal(arrow), block)
    morphisms = [(names[a], names[b]) for a, b in zip(lower, upper, strict=True)]
    return FiniteCategory.of_tables(names, morphisms, tables)


def from_monoid(
    elements: Iterable[Name], multiply: Callable[[Any, Any], Any] | Sequence[Sequence[Any]], *, name: Name = "*"
) -> FiniteCategory:
    """A monoid as a category of one object, `name`; its elements are the morphisms.

    multiply  a function, or the Cayley table: row a, column b, in the order of `elements`, holds a b

    Raises TheoryError for a product that is no element, without an identity, and for a triple that is not associative.
    """
    names = listed(elements)
    number = {one: place for place, one in enumerate(names)}
    rows: Any = [[multiply(a, b) for b in names] for a in names] if callable(multiply) else multiply
    if len(rows) != len(names) or any(len(row) != len(names) for row in rows):
        raise TheoryError(f"multiply: expected {len(names)} rows of {len(names)} products, one for each element.")
    for a, row in zip(names, rows, strict=True):
        for b, product in zip(names, row, strict=True):
            if product not in number:
                raise TheoryError(f"{shown(a)} times {shown(b)}: {shown(product)} is no element. Add it.", a, b)
    table = np.array([[number[product] for product in row] for row in rows], np.int64).reshape(len(names), -1)
    every = np.arange(len(names))
    units = np.flatnonzero((table == every).all(1) & np.equal(table.T, every).all(1))
    if not len(units):
        raise TheoryError("multiply: expected an element that changes no other. Add an identity.")
    zeros = np.zeros(len(names), np.int64)
    tables = Tables.build(zeros, zeros, units[:1], lambda _, out, into: table[np.ix_(out, into)])
    category = FiniteCategory.of_tables([name], names, tables)
    category.validate()
    return category


def from_group_action(
    group: FiniteCategory, points: Iterable[Name], act: Callable[[Any, Any], Any] | Mapping[tuple[Any, Any], Any]
) -> FiniteCategory:
    """The groupoid of a group's action: a morphism (g, x) from x to g x for each element and point.

    group  a category of one object, as `from_monoid` makes; act  (g, x) -> g x

    Raises TheoryError for a group that is none, a point that is moved out of `points`, and where 1 x = x or
    (h g) x = h (g x) does not hold.
    """
    if len(group.objects) != 1:
        raise TheoryError(f"group: expected a category of one object, got {len(group.objects)}.")
    names, one = listed(points), group.tables.identity[0]
    lonely = np.flatnonzero(~(group.tables.blocks[0] == one).any(1))
    if len(lonely):
        element = group.morphisms[lonely[0]]
        raise TheoryError(f"{shown(element)}: has no inverse. Give a group.", element)
    number = {point: place for place, point in enumerate(names)}
    moved = np.empty((len(group.morphisms), len(names)), np.int64)
    for row, g in enumerate(group.morphisms):
        for point in names:
            there = act(g, point) if callable(act) else act.get((g, point))
            if there not in number:
                raise TheoryError(f"{shown(g)} on {shown(point)}: {shown(there)} is none of the points.", g, point)
            moved[row, number[point]] = number[there]
    for h, row in enumerate(group.tables.blocks[0]):
        wrong = np.argwhere(moved[row] != moved[h][moved])
        if len(wrong):
            g, point = group.morphisms[wrong[0][0]], names[wrong[0][1]]
            told = f"(h g) x = h (g x) does not hold for h = {shown(group.morphisms[h])}"
            raise TheoryError(f"act: {told}, g = {shown(g)}, x = {shown(point)}.", group.morphisms[h], g, point)
    if (moved[one] != np.arange(len(names))).any():
        raise TheoryError(f"act: expected the identity {shown(group.morphisms[one])} to move no point.")
    size = len(names)

    def block(_: int, out: Ints, into: Ints) -> Ints:
        return group.tables.blocks[0][np.ix_(out // size, into // size)] * size + into % size

    morphisms = [(g, x) for g in group.morphisms for x in names]
    start = np.tile(np.arange(size), len(group.morphisms))
    return FiniteCategory.of_tables(names, morphisms, Tables.build(start, moved, one * size + np.arange(size), block))


def product(first: FiniteCategory, second: FiniteCategory) -> FiniteCategory:
    """Pairs of objects and pairs of morphisms, composed side by side."""
    a, b, size = first.tables, second.tables, len(second.morphisms)

    def block(_: int, out: Ints, into: Ints) -> Ints:
        if not len(out):
            return out
        ours = a.blocks[a.domain[out[0] // size]][np.ix_(a.place_out[out // size], a.place_in[into // size])]
        theirs = b.blocks[b.domain[out[0] % size]][np.ix_(b.place_out[out % size], b.place_in[into % size])]
        return ours * size + theirs

    def pairs(left: Ints, right: Ints, count: int) -> Ints:
        return (left[:, None] * count + right).ravel()

    tables = Tables.build(
        pairs(a.domain, b.domain, len(second.objects)),
        pairs(a.codomain, b.codomain, len(second.objects)),
        pairs(a.identity, b.identity, size),
        block,
    )
    objects = [(x, y) for x in first.objects for y in second.objects]
    return FiniteCategory.of_tables(objects, [(f, g) for f in first.morphisms for g in second.morphisms], tables)


def coproduct(*parts: FiniteCategory) -> FiniteCategory:
    """Categories side by side; every name becomes (number of the part, name)."""
    objects = [(part, name) for part, category in enumerate(parts) for name in category.objects]
    morphisms = [(part, name) for part, category in enumerate(parts) for name in category.morphisms]
    begins = np.cumsum([0, *(len(category.objects) for category in parts)])
    firsts = np.cumsum([0, *(len(category.morphisms) for category in parts)])

    def ends(name: str, shifts: Ints) -> Ints:
        rows = [getattr(category.tables, name) + shift for category, shift in zip(parts, shifts, strict=False)]
        return np.concatenate([np.empty(0, np.int64), *rows])

    blocks = [block + first for category, first in zip(parts, firsts, strict=False) for block in category.tables.blocks]
    tables = Tables.build(
        ends("domain", begins), ends("codomain", begins), ends("identity", firsts), lambda middle, *_: blocks[middle]
    )
    return FiniteCategory.of_tables(objects, morphisms, tables)


def full_subcategory(category: FiniteCategory, objects: Iterable[Name]) -> FiniteCategory:
    """Some of the objects, in the order of the category, and all morphisms between them."""
    wanted = np.zeros(len(category.objects), bool)
    wanted[[category.object_number(one) for one in listed(objects)]] = True
    old = category.tables
    kept = np.flatnonzero(wanted[old.domain] & wanted[old.codomain])
    chosen = np.flatnonzero(wanted)
    new_object, new = np.cumsum(wanted) - 1, np.full(len(category.morphisms), -1, np.int64)
    new[kept] = np.arange(len(kept))

    def block(_: int, out: Ints, into: Ints) -> Ints:
        return new[old.composites(kept[out], kept[into])]

    tables = Tables.build(
        new_object[old.domain[kept]], new_object[old.codomain[kept]], new[old.identity[chosen]], block
    )
    return FiniteCategory.of_tables(
        [category.objects[one] for one in chosen], [category.morphisms[one] for one in kept], tables
    )


def _from_the_top(above: list[list[int]], names: list[Any]) -> list[int]:
    """Elements of an order, each after all that are above it. Raises TheoryError that names a cycle."""
    order: list[int] = []
    state = [0] * len(above)  # 0 not met, 1 on the way up, 2 done
    for start in range(len(above)):
        way = [(start, iter(above[start]))] if not state[start] else []
        state[start] = state[start] or 1
        while way:
            one, rest = way[-1]
            upper = next((other for other in rest if state[other] < 2), None)
            if upper is None:
                state[one] = 2
                order.append(one)
                way.pop()
            elif state[upper] == 1:
                cycle = [other for other, _ in way]
                cycle = [names[other] for other in (*cycle[cycle.index(upper) :], upper)]
                told = " <= ".join(map(shown, cycle[:6])) + (" <= …" if len(cycle) > 6 else "")
                raise TheoryError(f"relations: expected an order, got the cycle {told}. Break it.", *cycle)
            else:
                state[upper] = 1
                way.append((upper, iter(above[upper])))
    return order
