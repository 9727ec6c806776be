"""Random small categories and functors to sets for hypothesis, and definitions spelt out to hold the library against."""

import os
from itertools import product as pairs
from itertools import starmap
from math import prod

from hypothesis import assume, settings
from hypothesis import strategies as st

from fmcompress.theory import (
    FiniteCategory,
    Presheaf,
    coproduct,
    from_graph,
    from_group_action,
    from_monoid,
    from_poset,
    full_subcategory,
    product,
    side_by_side,
    yoneda,
)

LARGEST = 40  # morphisms of a random category
EXAMPLES = int(os.environ.get("FMCOMPRESS_THEORY_EXAMPLES", 60))
UNHURRIED = settings(deadline=None, max_examples=EXAMPLES)


def cyclic(size):
    return from_monoid(range(size), lambda a, b: (a + b) % size)


@st.composite
def posets(draw):
    names = draw(st.permutations("vwxyz"))[: draw(st.integers(1, 5))]
    every = [(a, b) for place, a in enumerate(names) for b in names[place + 1 :]]
    return from_poset(draw(st.lists(st.sampled_from(every))) if every else [], draw(st.permutations(names)))


@st.composite
def monoids(draw):
    """What one or two maps of three points generate."""
    points = range(3)
    maps = draw(st.lists(st.tuples(*[st.sampled_from(points)] * 3), min_size=1, max_size=2))
    found, waiting = {tuple(points)}, [tuple(points)]
    while waiting:
        one = waiting.pop()
        for other in maps:
            composite = tuple(one[other[point]] for point in points)
            if composite not in found:
                found.add(composite)
                waiting.append(composite)
    assume(len(found) <= 12)
    return from_monoid(draw(st.permutations(sorted(found))), lambda a, b: tuple(a[b[point]] for point in points))


@st.composite
def groupoids(draw):
    """A cyclic group that turns cycles whose lengths divide its order."""
    size = draw(st.integers(1, 4))
    lengths = draw(st.lists(st.sampled_from([one for one in range(1, size + 1) if size % one == 0]), max_size=3))
    points = [(cycle, place) for cycle, length in enumerate(lengths) for place in range(length)]
    return from_group_action(cyclic(size), points, lambda g, x: (x[0], (x[1] + g) % lengths[x[0]]))


@st.composite
def free_categories(draw):
    """Paths of a graph without cycles, some parallel ones made equal."""
    ends = draw(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 2)), max_size=4))
    edges = {f"e{number}": (a, min(a + step, 3)) for number, (a, step) in enumerate(ends)}
    free = from_graph(edges, objects=range(4))
    parallel = [(f.edges, g.edges) for f in free.morphisms for g in free.hom(free.domain(f), free.codomain(f)) if f < g]
    relations = draw(st.lists(st.sampled_from(parallel), max_size=2)) if parallel else []
    return from_graph(edges, relations, range(4))


@st.composite
def maps_of_points(draw):
    """What some maps between sets of one to three points generate; unlike the others they have retracts."""
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    places = range(len(sizes))
    every = [(a, b, to) for a, b in pairs(places, places) for to in pairs(range(sizes[b]), repeat=sizes[a])]
    identities = {one: (one, one, (*range(sizes[one]),)) for one in places}
    found = {*identities.values(), *draw(st.lists(st.sampled_from(every), max_size=4))}

    def after(g, f):
        return f[0], g[1], tuple(g[2][point] for point in f[2])

    while more := {after(g, f) for g in found for f in found if f[1] == g[0]} - found:
        found |= more
        assume(len(found) <= 20)
    return FiniteCategory(places, {f: f[:2] for f in sorted(found)}, identities, after)


BASES = st.one_of(posets(), monoids(), groupoids(), free_categories(), maps_of_points())


@st.composite
def categories(draw, largest=LARGEST):
    found = draw(BASES)
    change = draw(st.sampled_from(["none", "opposite", "product", "coproduct", "part"]))
    if change == "opposite":
        found = found.opposite
    elif change == "product":
        found = product(found, draw(BASES))
    elif change == "coproduct":
        found = coproduct(found, draw(BASES))
    elif change == "part" and found.objects:
        found = full_subcategory(found, draw(st.sets(st.sampled_from(found.objects), min_size=1)))
    assume(len(found.morphisms) <= largest)
    return found


@st.composite
def presheaves(draw, category, most=3):
    """A coproduct of representables, with some of its elements made equal, and names of its own."""
    if not category.objects:
        return Presheaf(category, {}, {})
    prompts = draw(st.lists(st.sampled_from(category.objects), max_size=most))
    if not prompts:
        return Presheaf(category, dict.fromkeys(category.objects, ()), {})
    whole = side_by_side(*(yoneda(category, one) for one in prompts))
    everything = [(one, x, y) for one in category.objects for x in whole.at(one) for y in whole.at(one)]
    return quotient(whole, draw(st.lists(st.sampled_from(everything), max_size=2)))


def set_functors(category, most=2):
    return presheaves(category.opposite, most).map(Presheaf.covariant)


@st.composite
def with_presheaf(draw, largest=LARGEST, most=3):
    return draw(presheaves(draw(categories(largest)), most))


def quotient(presheaf, equal):
    """The presheaf with elements x and y at an object made equal, for all (object, x, y)."""
    category = presheaf.category
    joined = {(one, x): (one, x) for one in category.objects for x in presheaf.at(one)}
    for one, x, y in equal:
        for f in category.morphisms:
            if category.codomain(f) == one:
                there = category.domain(f)
                old, new = joined[there, presheaf.act(f, x)], joined[there, presheaf.act(f, y)]
                joined = {name: new if label == old else label for name, label in joined.items()}
    named = {label: number for number, label in enumerate(dict.fromkeys(joined.values()))}
    sets = {one: sorted({named[joined[one, x]] for x in presheaf.at(one)}) for one in category.objects}
    maps = {
        f: {
            named[joined[category.codomain(f), x]]: named[joined[category.domain(f), presheaf.act(f, x)]]
            for x in presheaf.at(category.codomain(f))
        }
        for f in category.morphisms
    }
    return Presheaf(category, sets, maps)


def written_out(category):
    """The four arguments that FiniteCategory takes, of one."""
    morphisms = {f: (category.domain(f), category.codomain(f)) for f in category.morphisms}
    composites = {
        (g, f): category.compose(g, f) for g, f in pairs(morphisms, morphisms) if morphisms[g][0] == morphisms[f][1]
    }
    return category.objects, morphisms, {one: category.identity(one) for one in category.objects}, composites


def is_category(objects, morphisms, identities, compose):
    """The laws, word for word."""
    for (g, f), composite in compose.items():
        if morphisms[composite] != (morphisms[f][0], morphisms[g][1]):
            return False
    for f, (start, end) in morphisms.items():
        if compose[f, identities[start]] != f or compose[identities[end], f] != f:
            return False
    return all(
        compose[compose[h, g], f] == compose[h, compose[g, f]]
        for h, g in compose
        for f, ends in morphisms.items()
        if ends[1] == morphisms[g][0]
    )


def all_families(source, target):
    """Every family of functions between two presheaves, natural or not; assumes that there are few."""
    sizes = [(len(source.at(one)), len(target.at(one))) for one in source.category.objects]
    assume(prod(images**elements for elements, images in sizes) <= 500)
    choices = [
        [(one, dict(zip(source.at(one), images, strict=True))) for images in pairs(target.at(one), repeat=size)]
        for one, (size, _) in zip(source.category.objects, sizes, strict=True)
    ]
    return map(dict, pairs(*choices))


def is_natural(source, target, family):
    """The squares, word for word, of two presheaves."""
    category = source.category
    return all(
        target.act(f, family[category.codomain(f)][x]) == family[category.domain(f)][source.act(f, x)]
        for f in category.morphisms
        for x in source.at(category.codomain(f))
    )


def same_families(left, right):
    """Equal as sets of families of functions."""
    kept = [
        sorted(repr(sorted(starmap(lambda o, m: (repr(o), repr(m)), one.items()))) for one in all_)
        for all_ in (left, right)
    ]
    return kept[0] == kept[1]


def rebuilt(category):
    return FiniteCategory(*written_out(category))
